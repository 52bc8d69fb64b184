"""Measures the Python producer against a running engine: `python3 tools/python/bench.py [--url ws://127.0.0.1:8088]`.

Prints one JSON object a line. `npm run bench -- python` starts an engine for it and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from typing import Any, Callable, Dict, Iterator, List

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from millrace import Producer, Subscription  # noqa: E402

_MIB = 1024 * 1024
_SEED = 20_251_107
_PAYLOADS = 32_768
# Messages between two looks at the clock.
_CHUNK = 1024
_PACED_PER_S = 20_000
_DEFINITION = {"maxSize": 1024 * _MIB, "strategyOnFull": 1}
# A latency sample costs 8 bytes and more; the newest ones of a long run are enough.
_SAMPLES_MAX = 4_000_000


def make_payloads() -> List[bytes]:
    """Results of inference as JSON, 150 bytes on average, the same on every machine."""
    chance = random.Random(_SEED)
    payloads = []
    for index in range(_PAYLOADS):
        result = {
            "camera": f"cam-{chance.randint(1, 12):02}",
            "model": chance.choice(["yolov8n-int8", "yolov8s-int8", "defect-seg-fp16"]),
            "ts": 1_762_498_800_000 + index * 3,
            "frame": 100_000 + index // 12,
            "label": chance.choice(["person", "forklift", "pallet", "carton", "scratch", "dent"]),
            "confidence": chance.randint(4500, 9900) / 10_000,
            "bbox": [chance.randint(0, 1000), chance.randint(0, 500), chance.randint(24, 240), chance.randint(24, 240)],
            "ms": chance.randint(70, 160) / 10,
        }
        payloads.append(json.dumps(result, separators=(",", ":")).encode())
    return payloads


def chunks(payloads: List[bytes], seconds: float) -> Iterator[List[bytes]]:
    deadline = time.perf_counter() + seconds
    while True:
        for at in range(0, len(payloads), _CHUNK):
            yield payloads[at : at + _CHUNK]
            if time.perf_counter() >= deadline:
                return


def append_many(producer: Producer, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    for chunk in chunks(payloads, seconds):
        producer.append_many(chunk)
    return {}


def append_each(producer: Producer, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    append = producer.append
    for chunk in chunks(payloads, seconds):
        for payload in chunk:
            append(payload)
    return {}


def append_timed(producer: Producer, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    append, now = producer.append, time.perf_counter_ns
    samples: List[int] = []
    for chunk in chunks(payloads, seconds):
        for payload in chunk:
            start = now()
            append(payload)
            samples.append(now() - start)
        if len(samples) > _SAMPLES_MAX:
            del samples[: _SAMPLES_MAX // 2]
    return percentiles(samples)


def append_paced(producer: Producer, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    """As a program that does something else between two messages."""
    append, now = producer.append, time.perf_counter_ns
    samples: List[int] = []
    begun = time.perf_counter()
    for number in range(int(seconds * _PACED_PER_S)):
        wait = begun + number / _PACED_PER_S - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        start = now()
        append(payloads[number % len(payloads)])
        samples.append(now() - start)
    return percentiles(samples)


def percentiles(samples: List[int]) -> Dict[str, Any]:
    samples.sort()
    shares = {"append_p50_us": 0.5, "append_p99_us": 0.99, "append_p999_us": 0.999}
    last = len(samples) - 1
    return {key: round(samples[min(last, int(len(samples) * share))] / 1000, 2) for key, share in shares.items()}


_CASES: Dict[str, Callable[[Producer, List[bytes], float], Dict[str, Any]]] = {
    "append_many of ready payloads": append_many,
    "append of ready payloads": append_each,
    "append, each timed": append_timed,
    f"append, {_PACED_PER_S // 1000} k/s, each timed": append_paced,
}


_FIRST_BATCH_S = 30.0
_SUBSCRIBE_CASE = "subscribe to what is stored"


def measure_subscription(url: str, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    """Reads what the stream of the other cases holds, from its oldest message on."""
    with Producer("python-bench", url=url, create=_DEFINITION) as producer:
        producer.append_many(payloads)
    count = byte_count = 0
    cpu, begun = time.process_time(), time.perf_counter()
    ended = begun
    with Subscription("python-bench", url=url) as subscription:
        # The stream holds messages: the first of them come, however slow the machine is.
        messages = subscription.next_batch(_FIRST_BATCH_S)
        while messages:
            ended = time.perf_counter()
            count += len(messages)
            byte_count += sum(len(message.payload) for message in messages)
            if ended - begun >= seconds:
                break
            # At the end of the stream there is nothing more to measure.
            messages = subscription.next_batch(0.05)
    if count == 0:
        raise AssertionError(f"nothing was read within {_FIRST_BATCH_S} s")
    elapsed, cpu = ended - begun, time.process_time() - cpu
    return record(_SUBSCRIBE_CASE, count=count, byte_count=byte_count, elapsed=elapsed, cpu=cpu)


def measure(name: str, url: str, payloads: List[bytes], seconds: float) -> Dict[str, Any]:
    with Producer("python-bench", url=url, create=_DEFINITION) as producer:
        _CASES[name](producer, payloads, min(seconds, 0.3))
        producer.flush()
        before, cpu, begun = producer.counters, time.process_time(), time.perf_counter()
        latencies = _CASES[name](producer, payloads, seconds)
        # Counted is what is answered.
        producer.flush()
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
        counters = producer.counters
    count = counters.acknowledged - before.acknowledged
    if counters.acknowledged != counters.appended or counters.resent or counters.dropped:
        raise AssertionError(f"not everything went through at once: {counters}")
    byte_count = round(count * sum(map(len, payloads)) / len(payloads))
    latencies["messages_per_batch"] = round(count / (counters.batches - before.batches), 1)
    return record(name, count=count, byte_count=byte_count, elapsed=elapsed, cpu=cpu, **latencies)


def record(name: str, *, count: int, byte_count: int, elapsed: float, cpu: float, **figures: float) -> Dict[str, Any]:
    return {
        "name": name,
        "messages_per_s": round(count / elapsed),
        "mib_per_s": round(byte_count / elapsed / _MIB, 1),
        "append_p50_us": None,
        "append_p99_us": None,
        "append_p999_us": None,
        "messages_per_batch": None,
        **figures,
        "cpu_us_per_message": round(cpu / count * 1e6, 3),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the Python producer against a running engine.")
    parser.add_argument("--url", default=None, help="engine (default: as the client finds it)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each case")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--payloads", default=None, help="file with one payload a line, instead of made ones")
    options = parser.parse_args()
    if options.payloads is None:
        payloads = make_payloads()
    else:
        with open(options.payloads, "rb") as file:
            payloads = file.read().splitlines()
    for name in _CASES:
        if options.case in name:
            print(json.dumps(measure(name, options.url, payloads, options.seconds)), flush=True)
    if options.case in _SUBSCRIBE_CASE:
        print(json.dumps(measure_subscription(options.url, payloads, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
