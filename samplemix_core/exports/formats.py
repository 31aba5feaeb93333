"""Every format, by name. One more is a class here, and its name in config/export.py."""

from samplemix_core.config.export import FormatName
from samplemix_core.exports.export_format import ExportFormat
from samplemix_core.exports.litdata import LitData
from samplemix_core.exports.mds import Mds
from samplemix_core.exports.megatron import Megatron
from samplemix_core.exports.olmo import Olmo
from samplemix_core.exports.tables import HuggingFace, JsonLines, Parquet
from samplemix_core.exports.webdataset import WebDataset

FORMATS: dict[FormatName, type[ExportFormat]] = {
    "jsonl": JsonLines,
    "parquet": Parquet,
    "hugging-face": HuggingFace,
    "webdataset": WebDataset,
    "mds": Mds,
    "litdata": LitData,
    "megatron": Megatron,
    "olmo": Olmo,
}
