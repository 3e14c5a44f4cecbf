#!/usr/bin/env python3
"""Prints the names of all files of rows and deletes that some snapshot of a table names, one a line.

The last part of each path: what a listing of the table's data folder must show, and no more.
"""

import argparse

import catalog


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    table = catalog.load(parser.parse_args())
    names: set[str] = set()
    read: set[str] = set()
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in read:
                read.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                names.update(it.data_file.file_path.rsplit("/", 1)[-1] for it in entries)
    print("\n".join(sorted(names)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
