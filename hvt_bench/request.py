"""What a command line asks for: a network, and how it is to be measured, as a point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import ValidationError

from hvt_bench.errors import ConfigError, RequestError, unknown
from hvt_bench.models import override, parse_fields, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Point, Protocol
from hvt_bench.records import explain
from hvt_bench.settle import settle, settle_attention


def parse_request(
    model: str, assignments: Sequence[str], reads: Collection[str] = (), otherwise: str = "leave it out"
) -> Point:
    """Turn `hvt_s_1` and `depth=18`, `batch_size=8`, ... into a point; what is not given is as in a sweep file.

    See `read_request`. Raises RequestError too where this machine lacks the device or a value does not fit.
    """
    name, config, protocol = read_request(model, assignments, reads, otherwise)
    try:
        settled = settle(protocol)
    except ValidationError as error:
        raise RequestError("; ".join(sentence for _, sentence in explain(error, Protocol.model_fields))) from None
    point = Point(model=name, config=config, **settle_attention(settled, config))
    point.check()
    return point


def read_request(
    model: str, assignments: Sequence[str], reads: Collection[str], otherwise: str
) -> tuple[str, ModelConfig, dict[str, Any]]:
    """Return the name of a network, its config, and what is given of the protocol.

    `reads` are the fields of the protocol that the command reads. Another one is refused, since it would change
    nothing, with `otherwise` as the next move. Of outside networks, a key of the protocol is not a keyword argument;
    it is one behind the colon of `model`. Raises RequestError, ConfigError where no such network exists.
    """
    fields = parse_fields(list(assignments))
    protocol = {key: value for key, value in fields.items() if key in Protocol.model_fields}
    config = parse_model(model)
    for key in protocol:
        if key not in reads:
            target = config.fields().get("target")
            argument = f"; as an argument of {target} it stands behind a colon, {target}:{key}=..." if target else ""
            raise RequestError(f"'{key}' says how a pass is measured: {otherwise}{argument}")
    changes = {key: value for key, value in fields.items() if key not in protocol}
    known = {*type(config).model_fields, *reads}
    if strange := [key for key in changes if key not in known | config.instead.keys() and not config.outside]:
        raise ConfigError(f"family {config.family}: {unknown('key', strange[0], known)}")
    network = [text for text in assignments if text.partition("=")[0].strip() not in protocol]
    return " ".join([model, *network]), override(config, **changes), protocol
