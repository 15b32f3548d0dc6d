"""What can be done to a file: images, archives, checksums, text of PDFs, video and audio."""

from redqueue.processors.file_processing.limits import Limits
from redqueue.processors.file_processing.processor import FileProcessor

__all__ = ("FileProcessor", "Limits")
