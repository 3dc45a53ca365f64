"""The requests to an object store, one method each; ``objects.py`` uses them.

pyarrow reads and writes on S3, Google Cloud Storage and HDFS. boto3 makes changes on S3 if it is
installed, which the extra ``cluster`` does. It can write an object only if it does not exist yet
(``If-None-Match``), and it only writes objects that were asked for: pyarrow also creates an empty
object for each folder and uploads even small objects in parts, which some servers refuse.
"""

import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

T = TypeVar("T")


class Bucket:
    """An object store that pyarrow supports. Keys begin with the bucket; errors are OSErrors.

    Args:
        filesystem: pyarrow's file system.
    """

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._fs = filesystem
        self._folders: set[str] = set()  # folders created so far

    def get(self, key: str) -> bytes:
        with self._fs.open_input_stream(key) as stream:
            return stream.read()

    def get_part(self, key: str, offset: int, size: int) -> bytes:
        with self._fs.open_input_file(key) as file:
            return file.read_at(size, offset)

    def put(self, key: str, content: bytes | pa.Buffer) -> None:
        """Write the object so that it is complete or absent."""
        folder = key.rpartition("/")[0]
        if folder not in self._folders:
            self._fs.create_dir(folder, recursive=True)
            self._folders.add(folder)
        with self._fs.open_output_stream(key) as stream:
            stream.write(content)

    def put_if_absent(self, key: str, content: bytes | pa.Buffer) -> bool | None:
        """Write the object unless it exists; returns whether it did. None: not available."""
        return None

    def delete(self, key: str) -> None:
        self._fs.delete_file(key)

    def copy(self, key: str, to: str) -> None:
        self._fs.copy_file(key, to)

    def modified(self, key: str) -> float | None:
        """The object's modification time in seconds by the store's clock; None if it is absent."""
        info = self._fs.get_file_info(key)
        return None if info.type == fs.FileType.NotFound else info.mtime.timestamp()

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder."""
        selector = fs.FileSelector(folder, allow_not_found=True)
        files = (f for f in self._fs.get_file_info(selector) if f.type == fs.FileType.File)
        return [f.base_name for f in files]


class S3Bucket(Bucket):
    """S3, changed by boto3.

    Args:
        filesystem: pyarrow's file system.
        client: boto3's client.
    """

    def __init__(self, filesystem: fs.FileSystem, client: Any) -> None:
        super().__init__(filesystem)
        self._client = client

    def put(self, key: str, content: bytes | pa.Buffer) -> None:
        self._put(key, content)

    def put_if_absent(self, key: str, content: bytes | pa.Buffer) -> bool | None:
        from botocore.exceptions import ClientError

        try:
            self._put(key, content, IfNoneMatch="*")
        except OSError as error:
            answer = error.__cause__
            code = answer.response["Error"]["Code"] if isinstance(answer, ClientError) else ""
            if code in ("PreconditionFailed", "412"):
                return False
            if code in ("NotImplemented", "501"):
                return None
            raise
        return True

    def delete(self, key: str) -> None:
        bucket, _, name = key.partition("/")
        _ask(lambda: self._client.delete_object(Bucket=bucket, Key=name))

    def _put(self, key: str, content: bytes | pa.Buffer, **conditions: str) -> None:
        bucket, _, name = key.partition("/")
        body = content if isinstance(content, bytes) else content.to_pybytes()
        _ask(lambda: self._client.put_object(Bucket=bucket, Key=name, Body=body, **conditions))


def bucket(uri: str, filesystem: fs.FileSystem) -> Bucket:
    """The requests to the store of a results folder, which pyarrow has opened."""
    client = _s3_client(uri) if uri.startswith("s3://") else None
    return Bucket(filesystem) if client is None else S3Bucket(filesystem, client)


def _ask(request: Callable[[], T]) -> T:
    """The answer to a request of boto3, whose errors become OSErrors."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return request()
    except (BotoCoreError, ClientError) as error:
        raise OSError(str(error)) from error


def _s3_client(uri: str) -> Any:
    """boto3's client for the URI, which has pyarrow's options; None if boto3 is not installed."""
    try:
        import boto3
    except ImportError:
        return None
    parts = urllib.parse.urlsplit(uri)
    options = dict(urllib.parse.parse_qsl(parts.query))
    settings: dict[str, Any] = {"region_name": options.get("region")}
    if "endpoint_override" in options:
        scheme = options.get("scheme", "https")
        settings["endpoint_url"] = f"{scheme}://{options['endpoint_override']}"
    if parts.username and parts.password:
        settings["aws_access_key_id"] = urllib.parse.unquote(parts.username)
        settings["aws_secret_access_key"] = urllib.parse.unquote(parts.password)
    return boto3.client("s3", **settings)
