"""A text that a language model writes, while somebody reads along: `python examples/job_types/streamed_text.py`.

It needs `pip install 'redqueue-jobs[embedded]' httpx`. Each section is one streamed request to an OpenAI-compatible
server. The progress carries the end of the text so far, the log each finished line, the checkpoint the finished
sections: a run after a failure asks for none of these again, and a 429 costs no attempt. The server is a stand-in on
this machine, which breaks off once and is busy once. For a real one give its URL, a model, and a key in OPENAI_API_KEY:

    python examples/job_types/streamed_text.py --base-url https://api.openai.com/v1 --model gpt-4o-mini
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, ClassVar

import httpx
import msgspec

from redqueue import BaseProcessor, Discard, Job, JobContext, JobData, Queue, ServiceRegistry, Snooze, Worker, embedded

TAIL = 900
"""Characters of the text's end that a progress carries: at most 4 KiB, four bytes each."""


MOST_TOKENS = 2_000
"""Of a section, so that all of them together fit a checkpoint: 1 MiB."""


class WrittenText(msgspec.Struct, frozen=True):
    """The job's result."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class TextJobData(JobData[WrittenText]):
    """What shall be written, section by section."""

    job_type: ClassVar[str] = "ai-text"

    sub_account_id: str
    topic: Annotated[str, msgspec.Meta(max_length=500)]
    sections: Annotated[list[str], msgspec.Meta(min_length=1, max_length=20)]


class Draft(msgspec.Struct):
    """The finished sections: what the checkpoint holds."""

    sections: list[str] = []
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def text(self) -> str:
        return "".join(f"{section}\n" for section in self.sections)


class TextProcessor(BaseProcessor[TextJobData, WrittenText]):
    """Writes one section after the other. The key is a setting of the worker's, never part of a job."""

    def __init__(self, base_url: str, model: str, api_key: str) -> None:
        self._base_url, self._model, self._api_key = base_url, model, api_key

    async def process(self, data: TextJobData, context: JobContext, /) -> WrittenText:
        draft = msgspec.convert(context.restored, Draft) if context.restored else Draft()
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        timeout = httpx.Timeout(10, read=60)
        async with httpx.AsyncClient(base_url=self._base_url, headers=headers, timeout=timeout) as client:
            for name in data.sections[len(draft.sections) :]:
                await self._write(client, f"Write the section {name!r} of a text on {data.topic}.", draft, context)
                await context.checkpoint(draft)  # in Redis when this returns: this section is paid for once
        return WrittenText(draft.text, draft.prompt_tokens, draft.completion_tokens)

    async def _write(self, client: httpx.AsyncClient, prompt: str, draft: Draft, context: JobContext) -> None:
        """One section, told as it comes."""
        before, text, logged, usage = draft.text, "", 0, None
        async for chunk in self._chunks(client, prompt):
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                text += choice["delta"].get("content") or ""
            while (end := text.find("\n", logged)) >= 0:
                context.log(text[logged:end])
                logged = end + 1
            whole = before + text
            facts = {"kept": len(before), "length": len(whole), "tail": whole[-TAIL:]}
            context.progress(None, f"section {len(draft.sections) + 1}", facts)
        if text[logged:]:
            context.log(text[logged:])
        draft.sections.append(text)
        draft.prompt_tokens += usage["prompt_tokens"] if usage else 0
        draft.completion_tokens += usage["completion_tokens"] if usage else 0

    async def _chunks(self, client: httpx.AsyncClient, prompt: str) -> AsyncIterator[dict[str, Any]]:
        """What the server sends as `data: {...}`, until it says that it is done."""
        messages = [{"role": "user", "content": prompt}]
        asked = {"model": self._model, "messages": messages, "max_tokens": MOST_TOKENS}
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", "chat/completions", json=asked) as answer:
            check(answer)
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
        raise ConnectionError("the model's server broke off")  # a failed attempt


def check(answer: httpx.Response) -> None:
    """Raise what an answer that isn't a text means for the job."""
    if answer.status_code == 429:
        after = answer.headers.get("Retry-After", "")
        raise Snooze(min(int(after), 3_600) if after.isdecimal() else 30, "the model is busy")
    if 400 <= answer.status_code < 500:
        raise Discard(f"the model's server refuses the request: {answer.status_code}")
    answer.raise_for_status()


def register(registry: ServiceRegistry, base_url: str, model: str, api_key: str) -> None:
    """What a worker's module does."""
    registry.register_processor("ai-text", TextProcessor(base_url, model, api_key), retries=5, backoff=0.1)


class Reader:
    """Prints what wasn't printed yet. Progress is the latest only, so a tail may follow behind a gap."""

    def __init__(self) -> None:
        self._printed = 0
        self._again = False

    def restart(self, why: str) -> None:
        """What comes next is of another run, which writes anew what wasn't kept."""
        self._again = True
        say(f"\n[{why}]\n")

    def read(self, kept: int, length: int, tail: str) -> None:
        """A text of so many characters, which ends so, and of which so many are kept for a later run."""
        if self._again:
            self._printed, self._again = min(self._printed, kept), False
        missing = length - self._printed
        say(f"[...]{tail}" if missing > len(tail) else tail[len(tail) - missing :])
        self._printed = length


def follow(queue: Queue, job: Job[WrittenText]) -> WrittenText:
    """Print the text as it comes, by the queue's events; the job's result, or a `JobFailed`."""
    reader = Reader()
    for event in queue.events(since="0"):
        if event.job_id != job.id:
            continue
        if event.kind == "progress" and event.facts["data"]:
            reader.read(**event.facts["data"])
        elif event.kind == "retrying":
            reader.restart(f"{event.facts.get('error', 'failed')}; again in {event.facts['delay_s']} s")
        elif event.kind == "delayed":
            reader.restart(f"{event.facts['reason']}; again in {event.facts['delay_s']} s")
        elif event.kind == "recovered":
            reader.restart("the worker died; another one goes on")
        elif event.kind in ("completed", "failed", "cancelled"):
            break
    result = job.result(30)
    reader.read(0, len(result.text), result.text)
    return result


def say(text: str) -> None:
    """Print without ending the line."""
    sys.stdout.write(text)
    sys.stdout.flush()


class StandInModel(ThreadingHTTPServer):
    """STAND-IN for a language model's server. Of the second section it breaks off once, for the third it is busy once.

    Attributes:
        asked: how often for each section.
        pace: seconds between two words.
    """

    def __init__(self, pace: float) -> None:
        super().__init__(("127.0.0.1", 0), Completions)
        self.pace = pace
        self.asked: Counter[str] = Counter()


class Completions(BaseHTTPRequestHandler):
    """Answers POST /v1/chat/completions with stream=true."""

    @property
    def model(self) -> StandInModel:
        assert isinstance(self.server, StandInModel)
        return self.server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = asked["messages"][-1]["content"]
        sections = list(self.model.asked)
        self.model.asked[prompt] += 1
        place = sections.index(prompt) if prompt in sections else len(sections)
        first = self.model.asked[prompt] == 1
        if place == 2 and first:
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._stream(prompt, breaks=place == 1 and first)

    def _stream(self, prompt: str, *, breaks: bool) -> None:
        words = f"You said: {prompt}\nThis is what a stand-in says, word by word, to all that it is told.".split(" ")
        for word in words[: len(words) // 2] if breaks else words:
            self._send(json.dumps({"choices": [{"delta": {"content": f"{word} "}}]}))
            time.sleep(self.model.pace)
        if breaks:
            return
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(words)}
        self._send(json.dumps({"choices": [], "usage": usage}))
        self._send("[DONE]")

    def _send(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def stand_in_model(pace: float) -> Iterator[StandInModel]:
    """The server, as long as it is needed."""
    server = StandInModel(pace)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_along(url: str, base_url: str, model: str) -> WrittenText:
    """Add the job, and read along."""
    data = TextJobData(sub_account_id="sub_123", topic="queues", sections=["why", "how", "when not"])
    registry = ServiceRegistry()
    register(registry, base_url, model, os.environ.get("OPENAI_API_KEY", ""))
    with Queue("ai-text", url) as queue, Worker(["ai-text"], url, registry=registry).in_thread():
        job = queue.add(data)
        result = follow(queue, job)
        print(f"\n{len(queue.get_logs(job.id, count=1000))} lines in the job's log")
    print(f"{len(result.text)} characters, {result.prompt_tokens} + {result.completion_tokens} tokens")
    return result


def main(url: str, pace: float) -> int:
    """With the stand-in, which can say how often it was asked."""
    with stand_in_model(pace) as server:
        result = read_along(url, f"http://127.0.0.1:{server.server_port}/v1", "stand-in")
    asked = list(server.asked.values())
    print(f"the model was asked {', '.join(map(str, asked))} times for the three sections")
    return 0 if asked == [1, 2, 2] and result.completion_tokens == len(result.text.split(" ")) - 1 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A text that a language model writes, streamed.")
    parser.add_argument("--base-url", help="of a real server, as in https://api.openai.com/v1")
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--pace", type=float, default=0.03, help="seconds between two words of the stand-in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = f"embedded://{folder}/data"
        try:
            code = 0 if options.base_url else main(place, options.pace)
            if options.base_url:
                read_along(place, options.base_url, options.model)
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
