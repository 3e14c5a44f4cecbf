"""How a reader finds a table: the catalog's arguments, and the table behind them, by pyiceberg."""

import argparse
import os
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="namespace.table")
    parser.add_argument(
        "--catalog",
        required=True,
        metavar="URI",
        help="sqlite://FILE, postgres://USER:PASSWORD@HOST:PORT/DB or http://HOST:PORT (REST)",
    )
    parser.add_argument("--catalog-name", help="name inside an SQL catalog; found by itself when it holds one only")
    parser.add_argument("--warehouse", help="warehouse of a REST catalog")
    parser.add_argument("--s3-endpoint", default=os.environ.get("S3_ENDPOINT"))
    parser.add_argument("--s3-key", default=os.environ.get("S3_KEY"))
    parser.add_argument("--s3-secret", default=os.environ.get("S3_SECRET"))
    parser.add_argument("--s3-region", default="us-east-1")
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any property of pyiceberg, for example token=… or credential=…",
    )


def load(arguments: argparse.Namespace) -> Table:
    return load_catalog_of(arguments).load_table(arguments.table)


def load_catalog_of(arguments: argparse.Namespace) -> Catalog:
    properties = dict(it.split("=", 1) for it in arguments.property)
    if arguments.warehouse:
        properties["warehouse"] = arguments.warehouse
    if arguments.s3_endpoint:
        properties["s3.endpoint"] = arguments.s3_endpoint
        properties["s3.region"] = arguments.s3_region
        properties["s3.access-key-id"] = arguments.s3_key or ""
        properties["s3.secret-access-key"] = arguments.s3_secret or ""
        properties["s3.force-virtual-addressing"] = "false"
    scheme = urlsplit(arguments.catalog).scheme
    if scheme in ("http", "https"):
        return load_catalog("rest", type="rest", uri=arguments.catalog, **properties)
    uri = sqlalchemy_uri(arguments.catalog)
    name = arguments.catalog_name or only_catalog_name(uri)
    return load_catalog(name, type="sql", uri=uri, **properties)


def sqlalchemy_uri(uri: str) -> str:
    """The pipeline file's spelling (sqlx) as SQLAlchemy has it."""
    scheme, rest = uri.split(":", 1)
    if scheme == "sqlite":
        return "sqlite:///" + rest.removeprefix("//").split("?", 1)[0]
    if scheme in ("postgres", "postgresql"):
        return "postgresql+psycopg2:" + rest
    raise SystemExit(f"catalog {uri}: neither sqlite, postgres nor http")


def only_catalog_name(uri: str) -> str:
    """An SQL catalog's tables are shared by catalogs of several names."""
    from sqlalchemy import create_engine, text

    engine = create_engine(uri)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT DISTINCT catalog_name FROM iceberg_tables")).scalars().all()
    engine.dispose()
    if len(found) != 1:
        raise SystemExit(f"catalog {uri} holds the names {sorted(found)}: choose one by --catalog-name")
    return found[0]
