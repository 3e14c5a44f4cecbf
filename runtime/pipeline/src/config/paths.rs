//! Relative paths in the file are relative to the file, whatever folder the command runs in.

use std::path::{Component, Path, PathBuf};

/// The folder of the pipeline file, as the base of what it names.
pub(super) struct Base<'a>(pub(super) &'a Path);

impl Base<'_> {
    pub(super) fn path(&self, text: &str) -> PathBuf {
        normalise(&self.0.join(text))
    }

    /// A location: `s3://…` as it is, `file://./lake` and `lake` as an absolute file URL.
    pub(super) fn location(&self, text: &str) -> String {
        match text.split_once("://") {
            Some(("file", path)) => format!("file://{}", self.path(path).display()),
            Some(_) => text.trim_end_matches('/').to_owned(),
            None => format!("file://{}", self.path(text).display()),
        }
    }

    /// `sqlite://lake.db` and `sqlite:lake.db` → `sqlite:///folder/lake.db`. Others as they are.
    pub(super) fn database(&self, uri: &str) -> String {
        let Some(rest) = uri.strip_prefix("sqlite:") else { return uri.to_owned() };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').map_or((rest, None), |(it, q)| (it, Some(q)));
        let path = self.path(path).display().to_string();
        match query {
            None => format!("sqlite://{path}"),
            Some(query) => format!("sqlite://{path}?{query}"),
        }
    }
}

/// Takes `.` and `..` out, without looking at the disk: the file need not exist yet.
fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_is_relative_to_the_file() {
        let base = Base(Path::new("/work/pipe"));
        for (location, expected) in [
            ("file://./lake", "file:///work/pipe/lake"),
            ("file:///lake/", "file:///lake"),
            ("../lake", "file:///work/lake"),
            ("s3://bucket/lake/", "s3://bucket/lake"),
        ] {
            assert_eq!(base.location(location), expected);
        }
        for (uri, expected) in [
            ("sqlite://lake.db", "sqlite:///work/pipe/lake.db"),
            ("sqlite:lake.db?mode=rwc", "sqlite:///work/pipe/lake.db?mode=rwc"),
            ("sqlite:///lake.db", "sqlite:///lake.db"),
            ("postgres://db/lake", "postgres://db/lake"),
        ] {
            assert_eq!(base.database(uri), expected);
        }
    }
}
