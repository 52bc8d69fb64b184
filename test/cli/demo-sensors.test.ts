import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { machineDirectories, SensorBank, type Sensor } from "../../src/cli/demo-sensors.ts";

const files = {
  "proc/stat":
    "cpu  27934 12 6058 500445 331 0 73 27 0 0\n" +
    "cpu0 13184 5 2677 251570 22 0 20 10 0 0\n" +
    "cpu1 14750 7 3381 248875 309 0 53 17 0 0\n" +
    `intr 708261${" 0".repeat(9000)}\nctxt 1810094\nbtime 1763914000\nprocesses 11568\nprocs_running 3\nprocs_blocked 0\n`,
  "proc/meminfo":
    "MemTotal:        8134324 kB\nMemFree:         5561864 kB\nMemAvailable:    7042360 kB\n" +
    "Active:           900100 kB\nActive(anon):      12 kB\nDirty:               436 kB\n",
  "proc/loadavg": "1.73 0.88 0.48 11/154 11567\n",
  "proc/pressure/cpu": "some avg10=37.29 avg60=14.27 avg300=7.89 total=74016988\n",
  "proc/pressure/io":
    "some avg10=0.43 avg60=0.14 avg300=0.03 total=2703662\nfull avg10=0.13 avg60=0.07 avg300=0.01 total=2418191\n",
  "proc/diskstats":
    "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" +
    " 254       0 vda 43099 9718 3194066 52647 4444 32460 1773808 4729 0 6148 57850 6557 25 92648 472 5 0\n" +
    " 254       1 vda1 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n",
  "proc/net/dev":
    "Inter-|   Receive                                                |  Transmit\n" +
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
    "    lo: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n" +
    "wlp0s20f3:3000 30 0 0 0 0 0 0 4000 40 0 0 0 0 0 0\n",
  "sys/class/thermal/thermal_zone0/temp": "42000\n",
  "sys/class/thermal/thermal_zone1/temp": "",
  "sys/class/thermal/cooling_device0/temp": "1\n",
  "sys/class/hwmon/hwmon2/temp1_input": "-3500\n",
  "sys/class/power_supply/BAT0/voltage_now": "12345000\n",
  "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
};

function makeMachine(t: TestContext): { directory: string; bank: SensorBank } {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-sensors-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    writeFileSync(path.join(directory, name), text);
  }
  const bank = new SensorBank({ proc: path.join(directory, "proc"), sys: path.join(directory, "sys") });
  t.after(() => {
    bank.close();
    rmSync(directory, { recursive: true });
  });
  return { directory, bank };
}

function find(bank: SensorBank, name: string): Sensor {
  const sensor = bank.sensors.find((candidate) => candidate.name === name);
  assert.ok(sensor, `no sensor ${name}`);
  return sensor;
}

const expected = {
  "cpu.user": 27934,
  "cpu.system": 6058,
  "cpu.idle": 500445,
  "cpu.iowait": 331,
  "cpu0.user": 13184,
  "cpu1.iowait": 309,
  interrupts: 708261,
  context_switches: 1810094,
  forks: 11568,
  "processes.running": 3,
  "memory.MemFree": 5561864,
  "memory.MemAvailable": 7042360,
  "memory.Active": 900100,
  "memory.Dirty": 436,
  "load.1min": 1.73,
  "pressure.cpu.some": 74016988,
  "pressure.io.some": 2703662,
  "pressure.io.full": 2418191,
  "disk.vda.reads": 43099,
  "disk.vda.sectors_read": 3194066,
  "disk.vda.writes": 4444,
  "disk.vda.sectors_written": 1773808,
  "disk.vda.busy": 6148,
  "disk.vda1.reads": 7,
  "net.lo.received": 1000,
  "net.lo.packets_received": 10,
  "net.wlp0s20f3.received": 3000,
  "net.wlp0s20f3.sent": 4000,
  "net.wlp0s20f3.packets_sent": 40,
  "thermal_zone0.temp": 42000,
  "hwmon2.temp1_input": -3500,
  "BAT0.voltage_now": 12345000,
  "cpu0.scaling_cur_freq": 1800000,
};

describe("SensorBank", () => {
  it("reads each value from its place", (t) => {
    const { bank } = makeMachine(t);
    const values = Object.fromEntries(Object.keys(expected).map((name) => [name, find(bank, name).read()]));
    assert.deepEqual(values, expected);
  });

  it("has no sensor that the machine does not have", (t) => {
    const names = makeMachine(t).bank.sensors.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const absent of [
      "pressure.cpu.full",
      "pressure.memory.some",
      "memory.SwapFree",
      "disk.loop0.reads",
    ]) {
      assert.ok(!names.includes(absent), absent);
    }
    assert.ok(!names.some((name) => /thermal_zone1|cooling/.test(name)), "a zone that answers nothing");
  });

  it("has none where there is no /proc and no /sys", () => {
    const nowhere = path.join(tmpdir(), "millrace-no-such-directory");
    assert.deepEqual(new SensorBank({ proc: nowhere, sys: nowhere }).sensors, []);
  });

  it("reads the file again for each reading", (t) => {
    const { directory, bank } = makeMachine(t);
    const load = find(bank, "load.1min");
    writeFileSync(path.join(directory, "proc/loadavg"), "0.05 0.88 0.48 11/154 11567\n");
    assert.equal(load.read(), 0.05);
  });

  it("gives nothing for a value that is gone", (t) => {
    const { directory, bank } = makeMachine(t);
    const temperature = find(bank, "thermal_zone0.temp");
    truncateSync(path.join(directory, "sys/class/thermal/thermal_zone0/temp"));
    assert.equal(temperature.read(), undefined);
  });

  it("reads this machine: its counters grow while it works", (t) => {
    const bank = new SensorBank(machineDirectories);
    t.after(() => bank.close());
    const switches = find(bank, "context_switches");
    const before = switches.read()!;
    // Sleeping switches the context.
    for (let round = 0; round < 5; round++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
    assert.ok(switches.read()! > before);
    for (const sensor of bank.sensors) assert.ok(Number.isFinite(sensor.read()), sensor.name);
  });
});
