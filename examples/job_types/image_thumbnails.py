"""Thumbnails after an upload: `python examples/job_types/image_thumbnails.py`.

It needs `pip install 'redqueue-jobs[embedded,files]'`. It makes photographs with Pillow, and uploads them and one that
was cut off on its way. Each job runs in a child process of the worker, since nobody knows what people upload; the
broken file fails its own job with the reason.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from redqueue import Job, JobFailed, Queue, ServiceRegistry, Worker, embedded
from redqueue.processors.file_processing import FileProcessor
from redqueue.processors.storage import Storage
from redqueue.shapes import Convert, FileProcessingJobData, FileResult, Orient, Strip, Thumbnail

SIDE = 200


def register(registry: ServiceRegistry, storage: Storage) -> None:
    """What a worker's module does."""
    registry.register_processor("file-processing", FileProcessor(storage), execution="process", timeout=120)


def photograph(width: int, height: int, *, turned: bool = False) -> bytes:
    """A JPEG; one that was turned has its pixels lying down, and says so in its EXIF."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1  # Orientation
    exif[0x010F] = "A camera"  # Make: nobody else's business
    file = BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def upload(storage: Storage, account: str, name: str, content: bytes) -> FileProcessingJobData:
    """Store what somebody sent; the job to add for it. Each account has folders of its own."""
    with storage.writing(f"uploads/{account}/{name}") as file:
        file.write(content)
    return FileProcessingJobData(
        sub_account_id=account,
        source=f"uploads/{account}/{name}",
        operations=[Orient(), Thumbnail(SIDE, SIDE), Convert("webp"), Strip()],
        destination=f"thumbnails/{account}/{Path(name).stem}.webp",
    )


def show(storage: Storage, name: str, job: Job[FileResult]) -> Image.Image | None:
    """Print what became of an upload; the thumbnail, if there is one."""
    try:
        result = job.result(60)
    except JobFailed as error:
        print(f"  {name:<14}failed: {error.message}")
        return None
    [written] = result.files
    with storage.reading(written.key) as file:
        image = Image.open(BytesIO(file.read()))
    print(f"  {name:<14}{written.key}, {image.format} {image.width}x{image.height}, {len(image.getexif())} EXIF tags")
    return image


def main(url: str, files: Path) -> int:
    """Upload, wait for the thumbnails, and look at them."""
    storage = Storage(files)
    wide, tall = photograph(1600, 900), photograph(800, 600, turned=True)
    uploads = {"wide.jpg": wide, "tall.jpg": tall, "cut-off.jpg": wide[: len(wide) // 2]}
    registry = ServiceRegistry()
    register(registry, storage)
    with (
        Queue("file-processing", url) as queue,
        Worker({"file-processing": 1}, url, registry=registry).in_thread(),
    ):
        jobs = {name: queue.add(upload(storage, "sub_123", name, content)) for name, content in uploads.items()}
        print(f"uploaded {len(jobs)} files, {sum(map(len, uploads.values())) / 1e3:.0f} kB")
        thumbnails = [show(storage, name, job) for name, job in jobs.items()]
    sizes = [image and (*image.size, len(image.getexif())) for image in thumbnails]
    return 0 if sizes == [(200, 112, 0), (150, 200, 0), None] else 1


if __name__ == "__main__":  # child processes import this file, too
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = main(f"embedded://{folder}/data", Path(folder, "files"))
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
