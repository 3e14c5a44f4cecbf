"""DuckDB as the second reader: with its iceberg extension from PyPI, or over the files that pyiceberg names."""

import glob
import importlib.util
import os
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
from pyiceberg.table import Table

# Beyond this DuckDB spills to its folder. Everything a reader does must fit 3 GB.
MEMORY_LIMIT = "1500MB"


def connect(folder: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(os.path.join(folder, "rows.duckdb"))
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute(f"SET temp_directory = '{folder}/spill'")
    connection.execute("SET preserve_insertion_order = false")
    # Extensions come from PyPI, pinned; nothing is fetched in passing.
    connection.execute("SET autoinstall_known_extensions = false")
    return connection


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return False
    for path in glob.glob(f"{Path(spec.origin).parent}/extensions/*/{name}.duckdb_extension"):
        try:
            connection.execute(f"LOAD '{path}'")
            return True
        except duckdb.Error:
            # Made for another release of DuckDB.
            continue
    return False


def iceberg_relation(connection: duckdb.DuckDBPyConnection, table: Table, snapshot_id: int | None = None) -> str | None:
    """SQL that reads the table by DuckDB's own implementation of Iceberg; None where it is not at hand."""
    if not (load_extension(connection, "avro") and load_extension(connection, "iceberg")):
        return None
    location = table.metadata_location
    if urlsplit(location).scheme in ("s3", "s3a"):
        if not load_extension(connection, "httpfs"):
            return None
        create_secret(connection, table)
    else:
        location = local_path(location)
    snapshot = f", snapshot_from_id = {snapshot_id}" if snapshot_id is not None else ""
    return f"iceberg_scan({quote(location)}{snapshot})"


def create_secret(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    properties = table.io.properties
    endpoint = urlsplit(properties["s3.endpoint"])
    connection.execute(
        f"""CREATE OR REPLACE SECRET s3 (TYPE s3, URL_STYLE 'path', REGION {quote(properties.get("s3.region", "us-east-1"))},
            ENDPOINT {quote(endpoint.netloc)}, USE_SSL {endpoint.scheme == "https"},
            KEY_ID {quote(properties["s3.access-key-id"])}, SECRET {quote(properties["s3.secret-access-key"])})"""
    )


def local_path(location: str) -> str:
    if "://" in location or location.startswith("file:"):
        return unquote(urlsplit(location).path)
    return location


class LocalFiles:
    """Data files as local paths; those in an object store are copied first."""

    def __init__(self, table: Table, folder: str) -> None:
        self.table, self.folder = table, folder

    def path(self, location: str) -> str:
        if urlsplit(location).scheme in ("", "file"):
            return local_path(location)
        handle, path = tempfile.mkstemp(suffix=".parquet", dir=self.folder)
        with os.fdopen(handle, "wb") as out, self.table.io.new_input(location).open() as read:
            out.write(read.read())
        return path


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
