"""Limits of what a small file may cost its parser: reads, header bytes, values, scans of a JPEG.

Every part of a file (chunk, segment, element, item) costs a parser at least one read, in Python some
microseconds and up to a kilobyte. So a limit of reads bounds time and memory, whatever the parts are.
"""

import io

from cxr.core.errors import UserError

# A PNG of 64 MB in chunks of 8 KB takes 30,000 reads, a radiograph in DICOM some 1,000.
MAX_READS, MAX_ELEMENT_READS = 100_000, 20_000
# Of a header: all before the compressed image of a JPEG or PNG (Exif, colour profiles), and all that is read
# of a DICOM or TIFF file besides the pixels (tables have up to 128 KiB).
MAX_HEADER, MAX_ELEMENT_BYTES = 8 * 2**20, 2**20
MAX_VALUES = 10_000  # separated by backslashes, as in DICOM; a window has one or two
# Encoders write about ten. Each passes over all of the image, which a file of kilobytes can repeat for hours
# (https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf).
MAX_SCANS = 32


class Metered(io.BytesIO):
    """A file in memory that raises `UserError` once more is read than allowed. reads: calls. header: bytes,
    until `header_ended`. values: backslashes in these bytes, or None for any number."""

    def __init__(self, content: bytes, reads: int, header: int, values: int | None = None) -> None:
        super().__init__(content)
        self._reads, self._header, self._values = reads, header, values

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._reads -= 1
        self._header -= len(data)
        if self._values is not None:
            self._values -= data.count(b"\\")
        if self._reads < 0 or self._header < 0 or (self._values is not None and self._values < 0):
            raise UserError("its header has more parts, bytes or values than any radiograph")
        return data

    def header_ended(self, rest: int | None = None) -> None:
        """From here on the number of reads is limited, and that of bytes by `rest` if it is given."""
        self._header, self._values = len(self.getbuffer()) * self._reads if rest is None else rest, None


def check_scans(jpeg: bytes) -> None:
    """Raises `UserError` for a JPEG of more than `MAX_SCANS` scans. Within a scan the mark cannot occur."""
    if jpeg.count(b"\xff\xda") > MAX_SCANS:
        raise UserError(f"a JPEG of more than {MAX_SCANS} scans")
