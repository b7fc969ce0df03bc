"""What a manifest may say of its resource `garage`."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

from kennel.errors import Rejected

ALLOWED = (
    'it takes public = true, index = "index.html", error = "404.html", and cors, a list of'
    ' {origins = ["https://…"], methods = ["GET"], headers = ["*"], expose = ["ETag"],'
    " max_age = 600}"
)

Words: TypeAlias = tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]
Method: TypeAlias = Literal["GET", "HEAD", "PUT", "POST", "DELETE"]
File: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Cors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages of other origins may speak to the bucket. `max_age`: seconds."""

    origins: Annotated[Words, msgspec.Meta(min_length=1)]
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1)] = ("GET", "HEAD")
    headers: Words = ()
    expose: Words = ()
    max_age: Annotated[int, msgspec.Meta(ge=0)] | None = None


class GarageOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`public`: whether everybody may read what is in the bucket, as a web site of Garage's.

    `index`: what is served for a folder of it; `error`: what for an object that is not there.
    `cors`: rules for browsers that speak S3.
    """

    public: bool = False
    index: File = "index.html"
    error: File | None = None
    cors: tuple[Cors, ...] = ()


def read_options(options: Mapping[str, object]) -> GarageOptions:
    """Return the options of a manifest. Raises Rejected with what is allowed."""
    try:
        return msgspec.convert(options, GarageOptions)
    except msgspec.ValidationError as error:
        raise Rejected(f"resource garage: {error}; {ALLOWED}") from error
