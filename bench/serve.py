#!/usr/bin/env python3
"""houle serve under load:  bench/serve.sh MODEL.gguf [--peer LLAMA_SERVER] [options]

    --what streams,prefill,cache,budget,idle   which of the measurements (all)
    --streams N      streams at once (32)         --tokens N    tokens of each (64)
    --rounds N       rounds, engines in turn (3)   --seconds N   of the run on a budget (120)
    --houle PROGRAM  (build/houle)                 --threads N   (2)

streams   total generated tokens per second of N streams at once; --peer is measured in the same rounds with as many slots
prefill   gaps between the tokens of a running stream, alone and while a prompt of 2,000 tokens arrives; that prompt's time
          to its first token, alone and beside the stream
cache     time to the first token of a conversation's second turn (4,000 tokens): cold, after the model was unloaded, and after
          the server was killed and started again
budget    ten copies of the model in a budget for three, ten clients: failures, evictions, resident memory against the budget
idle      processor time and resident memory of a server with one loaded model, against what it planned
"""
import argparse
import asyncio
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

WORDS = ("the river carried small boats past quiet mills while farmers counted apples under a wide and patient sky "
         "before evening rain washed dust from stone roads and children told each other stories of distant islands").split()


def words(count, seed):
    return " ".join(WORDS[(i * (2 * seed + 3) + i // len(WORDS) + seed) % len(WORDS)] for i in range(count))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Engine:
    """A server of its own, in a home of its own."""

    def __init__(self, name, command, home):
        self.name, self.port = name, free_port()
        self.log = open(pathlib.Path(home) / "log", "a")
        env = dict(os.environ, HOME=str(home), XDG_CACHE_HOME=str(home) + "/cache", XDG_DATA_HOME=str(home) + "/data")
        self.process = subprocess.Popen(command(self.port), env=env, stdout=self.log, stderr=self.log)
        until = time.monotonic() + 300
        while True:
            try:
                self.get("/health")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"{name} did not start; see {self.log.name}")
                time.sleep(0.05)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode()

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.loads(answer.read())

    def metric(self, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines()
                   if line.startswith((name + "{", name + " ")))

    def status(self, key):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)
        self.log.close()


async def stream(engine, body):
    """The moments at which events with text arrived, from the request on; raises when it is refused."""
    text = json.dumps({"stream": True, "temperature": 0, "ignore_eos": True, **body}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    start = time.monotonic()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(text) + text)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError((head + await reader.read()).decode(errors="replace"))
    moments = []
    while True:
        line = await reader.readline()
        if not line:
            break
        if line.startswith(b"data: {") and b'"text"' in line:
            moments.append(time.monotonic() - start)
        elif line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return moments


def houle_command(options, model, config, *more):
    def command(port):
        return [options.houle, "serve", "--no-store", "--port", str(port), "--threads", str(options.threads), "--no-log",
                "--config", str(config), *map(str, more)]
    return command


def write_config(home, models):
    path = pathlib.Path(home) / "models.json"
    path.write_text(json.dumps({"models": models}))
    return path


def houle(options, home, *more, **settings):
    config = write_config(home, {"m": {"path": str(pathlib.Path(options.model).resolve()), **settings}})
    return Engine("houle", houle_command(options, "m", config, *more), home)


def llama_server(options, home, slots, context):
    return Engine("peer", lambda port: [options.peer, "-m", options.model, "--port", str(port), "-t", str(options.threads), "-np",
                                        str(slots), "-c", str(slots * context), "--no-webui"], home)


def measure_streams(options, home):
    async def all_streams(engine):
        start = time.monotonic()
        got = await asyncio.gather(*(stream(engine, {"model": "m", "prompt": words(24, i), "max_tokens": options.tokens})
                                     for i in range(options.streams)))
        return options.streams * options.tokens / (time.monotonic() - start), [m[0] for m in got]

    results = {}
    for _ in range(options.rounds):
        makers = [lambda: houle(options, home, "--cache-disk", "0", sequences=options.streams, context=512,
                                cache_tokens=512 * options.streams, pin=True)]
        if options.peer:
            makers.append(lambda: llama_server(options, home, options.streams, 512))
        for make in makers:
            engine = make()
            asyncio.run(stream(engine, {"model": "m", "prompt": words(8, 99), "max_tokens": 8}))
            speed, _ = asyncio.run(all_streams(engine))
            results.setdefault(engine.name, []).append(speed)
            engine.stop()
    ours = statistics.median(results["houle"])
    print(f"streams: {options.streams} of {options.tokens} tokens: {ours:.0f} tokens/s in all", end="")
    if options.peer:
        theirs = statistics.median(results["peer"])
        print(f"; peer {theirs:.0f}: {ours / theirs:.2f}x", end="")
    print()


def measure_prefill(options, home):
    engine = houle(options, home, "--cache-disk", "0", sequences=8, context=4096, cache_tokens=16384, pin=True, draft_tokens=0)

    async def alone(seed):
        return await stream(engine, {"model": "m", "prompt": words(2000, seed), "max_tokens": 1})

    async def running(count):
        return await stream(engine, {"model": "m", "prompt": words(20, 7), "max_tokens": count})

    def gaps(moments):
        return [b - a for a, b in zip(moments, moments[1:])]

    async def beside(seed):
        task = asyncio.create_task(running(600))
        await asyncio.sleep(0.4)
        began = 0.4
        first = (await alone(seed))[0]
        moments = await task
        during = [g for g, at in zip(gaps(moments), moments[1:]) if began <= at <= began + first]
        return first, during

    prompt = engine.post("/tokenize", {"model": "m", "content": words(2000, 11)})
    n_prompt = len(prompt["tokens"])
    asyncio.run(running(64))
    usual = gaps(asyncio.run(running(300)))
    cold = [asyncio.run(alone(20 + i))[0] for i in range(options.rounds)]
    firsts, during = [], []
    for i in range(options.rounds):
        first, gap = asyncio.run(beside(40 + i))
        firsts.append(first)
        during += gap
    engine.stop()
    median = statistics.median(usual)
    during.sort()
    usual.sort()
    p99, p99_alone = (of[min(len(of) - 1, int(0.99 * len(of)))] for of in (during, usual))
    print(f"prefill: prompt of {n_prompt} tokens; gap alone {median * 1e3:.1f} ms (median; p99 {p99_alone * 1e3:.1f}), "
          f"with the prompt {statistics.median(during) * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms: {p99 / median:.1f}x ({len(during)} gaps); first token {statistics.median(cold):.2f} s alone, "
          f"{statistics.median(firsts):.2f} s beside it: {statistics.median(firsts) / statistics.median(cold):.2f}x")


def measure_cache(options, home):
    def start():
        return houle(options, home, "--cache-dir", f"{home}/prefixes", sequences=2, context=8192, cache_tokens=16384)

    def first_token(engine, prompt):
        return asyncio.run(stream(engine, {"model": "m", "prompt": prompt, "max_tokens": 1}))[0]

    base = words(4000, 5)
    engine = start()
    first_token(engine, words(10, 1))
    cold = first_token(engine, base)
    n_prompt = len(engine.post("/tokenize", {"model": "m", "content": base})["tokens"])
    warm = first_token(engine, base + " and a second question follows")
    engine.post("/api/generate", {"model": "m", "keep_alive": 0})
    until = time.monotonic() + 30
    while json.loads(engine.get("/api/ps"))["models"] and time.monotonic() < until:
        time.sleep(0.1)
    gone = not json.loads(engine.get("/api/ps"))["models"]
    evicted = first_token(engine, base + " and a third question follows")
    time.sleep(1.5)
    engine.stop(signal.SIGKILL)
    engine = start()
    killed = first_token(engine, base + " and a fourth question follows")
    engine.stop()
    print(f"cache: {n_prompt} tokens: first token {cold:.2f} s cold, {warm:.3f} s in memory, {evicted:.3f} s after "
          f"{'unloading' if gone else 'NOT unloading'} ({evicted / cold:.1%}), {killed:.3f} s after kill -9 ({killed / cold:.1%})")


def measure_budget(options, home):
    size = os.path.getsize(options.model)
    models = {}
    for i in range(10):
        copy = pathlib.Path(home) / f"copy{i}.gguf"
        subprocess.run(["cp", "--reflink=auto", options.model, copy], check=True)
        models[f"m{i}"] = {"path": str(copy), "context": 512, "sequences": 4, "cache_tokens": 2048}
    probe = Engine("houle", houle_command(options, "m0", write_config(home, models), "--cache-disk", 0), home)
    asyncio.run(stream(probe, {"model": "m0", "prompt": "a", "max_tokens": 1}))
    one = probe.metric("houle_memory_models_bytes")
    probe.stop()
    budget = int(3.4 * one)
    engine = Engine("houle", houle_command(options, "m0", write_config(home, models), "--memory", budget, "--cache-disk", 0), home)
    until, counts, failures, peak = time.monotonic() + options.seconds, [0] * 10, [], 0

    async def client(number):
        turn = 0
        while time.monotonic() < until:
            name = f"m{(number + turn * (1 + number % 3)) % 10}"
            turn += 1
            try:
                await stream(engine, {"model": name, "prompt": words(20, number + turn), "max_tokens": 16})
                counts[number] += 1
            except (RuntimeError, OSError, asyncio.IncompleteReadError) as e:
                failures.append(f"{name}: {str(e)[-300:]}")

    async def watch():
        nonlocal peak
        while time.monotonic() < until:
            peak = max(peak, engine.status("VmRSS"))
            await asyncio.sleep(0.02)

    async def everything():
        await asyncio.gather(watch(), *(client(i) for i in range(10)))

    asyncio.run(everything())
    evictions = engine.metric("houle_model_evictions_total")
    engine.stop()
    print(f"budget: {sum(counts)} requests of 10 clients to 10 models of {size >> 20} MiB in {budget >> 20} MiB, "
          f"{options.seconds} s: {len(failures)} failed, {evictions:.0f} evictions, resident at most {peak >> 20} MiB "
          f"({peak / budget:.0%} of the budget), slowest client {min(counts)} requests")
    for line in failures[:3]:
        print("   ", line)


def measure_idle(options, home):
    engine = houle(options, home, "--cache-disk", "0", sequences=8, context=4096, cache_tokens=8192)
    empty = engine.status("VmRSS")
    for i in range(6): # until the cache is full: it is taken from the system as it is used
        asyncio.run(stream(engine, {"model": "m", "prompt": words(2000, i), "max_tokens": 8}))
    time.sleep(2)
    before, began = engine.cpu_seconds(), time.monotonic()
    time.sleep(10)
    share = (engine.cpu_seconds() - before) / (time.monotonic() - began)
    planned, resident = engine.metric("houle_memory_models_bytes"), engine.status("VmRSS")
    engine.stop()
    print(f"idle: {share:.2%} of a processor in 10 s; planned {planned / 2**20:.0f} MiB, resident {resident / 2**20:.0f} MiB "
          f"({empty / 2**20:.0f} MiB before the model): {(resident - empty) / planned - 1:+.1%}")


def main():
    measures = {"streams": measure_streams, "prefill": measure_prefill, "cache": measure_cache, "budget": measure_budget,
                "idle": measure_idle}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--peer")
    parser.add_argument("--what", default=",".join(measures))
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--houle", default=str(pathlib.Path(__file__).resolve().parent.parent / "build" / "houle"))
    options = parser.parse_args()
    for what in options.what.split(","):
        with tempfile.TemporaryDirectory() as home:
            measures[what](options, home)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
