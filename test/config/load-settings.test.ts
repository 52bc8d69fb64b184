import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isLoopback, loadSettings, type SettingSources } from "../../src/config/load-settings.ts";
import { MillraceError } from "../../src/core/errors.ts";

const bare: SettingSources = { env: {}, homeDirectory: "/home/edge", cores: 8, memoryBytes: 2 ** 33 };

function load(sources: Partial<SettingSources>) {
  return loadSettings({ ...bare, ...sources });
}

/** The message of the refusal; fails when nothing is refused. */
function refusal(sources: Partial<SettingSources>): string {
  try {
    load(sources);
  } catch (error) {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, "INVALID_SETTING");
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  assert.fail("the settings were accepted");
}

const file = (values: Record<string, unknown>) => ({ path: "edge.toml", values });

describe("loadSettings, defaults", () => {
  it("has the stream manager's defaults without a notice", () => {
    const { settings, notices } = load({});
    assert.equal(settings.port, 8088);
    assert.equal(settings.host, "127.0.0.1");
    assert.equal(settings.authenticate, true);
    assert.equal(settings.exportThreads, 5);
    assert.equal(settings.s3PartBytesMin, 5_242_880);
    assert.equal(settings.exportKbitPerSecondMax, undefined);
    assert.deepEqual(notices, []);
  });

  it("stores below XDG_STATE_HOME when it is absolute, else below the home directory", () => {
    const directoryFor = (env: Record<string, string>) => load({ env }).settings.storeDirectory;
    assert.equal(directoryFor({ XDG_STATE_HOME: "/var/state" }), "/var/state/millrace");
    assert.equal(directoryFor({ XDG_STATE_HOME: "state" }), "/home/edge/.local/state/millrace");
    assert.equal(directoryFor({}), "/home/edge/.local/state/millrace");
  });

  it("takes half the cores for workers, 1 to 4, and a number as it is", () => {
    const workersOf = (cores: number, text?: string) =>
      load({ cores, env: text === undefined ? {} : { MILLRACE_WORKERS: text } }).settings.workers;
    assert.deepEqual(
      [1, 2, 3, 6, 64].map((cores) => workersOf(cores)),
      [1, 1, 1, 3, 4],
    );
    assert.equal(workersOf(4, "auto"), 2);
    assert.equal(workersOf(4, "7"), 7);
  });

  it("gives streams in memory a quarter of it, at most 1 GiB, and a number as it is", () => {
    const bytesOf = (memoryBytes: number, text?: string) =>
      load({ memoryBytes, env: text === undefined ? {} : { MILLRACE_MEMORY_STREAM_BYTES_MAX: text } })
        .settings.memoryStreamBytesMax;
    assert.deepEqual(
      [2 ** 20, 2 ** 29, 2 ** 32, 2 ** 36].map((memoryBytes) => bytesOf(memoryBytes)),
      [2 ** 20, 2 ** 27, 2 ** 30, 2 ** 30],
    );
    assert.equal(bytesOf(2 ** 29, "auto"), 2 ** 27);
    assert.equal(bytesOf(2 ** 29, "3000000"), 3_000_000);
  });

  it("gives settings that nobody can change", () => {
    const { settings } = load({ env: { MILLRACE_ALLOWED_HOSTS: "a, b" } });
    assert.ok(Object.isFrozen(settings));
    assert.ok(Object.isFrozen(settings.allowedHosts));
    assert.ok(Object.isFrozen(settings.allowedOrigins));
  });
});

describe("loadSettings, order", () => {
  it("lets the file win over the default, the environment over the file, the flag over the environment", () => {
    const sources = { ...bare, file: file({ port: 1 }), env: { STREAM_MANAGER_SERVER_PORT: "2" } };
    assert.equal(load({ file: file({ port: 1 }) }).settings.port, 1);
    assert.equal(load(sources).settings.port, 2);
    assert.equal(load({ ...sources, flags: { port: "3" } }).settings.port, 3);
  });

  it("takes an empty variable as not set, but not an empty flag", () => {
    const env = { STREAM_MANAGER_SERVER_PORT: "" };
    assert.equal(load({ env, file: file({ port: 1 }) }).settings.port, 1);
    assert.match(refusal({ flags: { port: "" } }), /^--port is ""/);
  });

  it("reads booleans, words and lists from text, and arrays and booleans from a file", () => {
    const env = {
      STREAM_MANAGER_AUTHENTICATE_CLIENT: "FALSE",
      LOG_LEVEL: "WARN",
      MILLRACE_ALLOWED_ORIGINS: "https://a.local, http://b.local:3000,",
    };
    const { settings } = load({ env });
    assert.equal(settings.authenticate, false);
    assert.equal(settings.logLevel, "WARN");
    assert.deepEqual(settings.allowedOrigins, ["https://a.local", "http://b.local:3000"]);
    const fromFile = load({ file: file({ authenticate: false, allowed_hosts: ["edge.local"] }) }).settings;
    assert.equal(fromFile.authenticate, false);
    assert.deepEqual(fromFile.allowedHosts, ["edge.local"]);
  });
});

describe("loadSettings, profiles", () => {
  const small = { MILLRACE_PROFILE: "small" };

  it("let a profile win over defaults, and everything else over the profile", () => {
    assert.equal(load({}).settings.workers, 4);
    assert.equal(load({ env: small }).settings.workers, 1);
    assert.equal(load({ file: file({ profile: "small" }) }).settings.ringBytes, 2 ** 21);
    assert.equal(load({ file: file({ profile: "small", workers: 2 }) }).settings.workers, 2);
    assert.equal(load({ file: file({ workers: 2 }), env: small }).settings.workers, 2);
    assert.equal(load({ env: { ...small, MILLRACE_WORKERS: "3" } }).settings.workers, 3);
    assert.equal(load({ env: { ...small, MILLRACE_WORKERS: "auto" } }).settings.workers, 4);
    assert.equal(load({ env: small, flags: { profile: "standard" } }).settings.workers, 4);
    assert.equal(load({ env: small, flags: { workers: "5" } }).settings.workers, 5);
    assert.equal(load({ env: { MILLRACE_PROFILE: "SMALL" } }).settings.profile, "small");
    assert.equal(
      refusal({ env: { MILLRACE_PROFILE: "tiny" } }),
      'MILLRACE_PROFILE is "tiny" and must be one of standard, small',
    );
  });

  it("say where each value came from", () => {
    const { sources } = load({
      env: { ...small, MILLRACE_WORKERS: "auto" },
      file: file({ port: 1, ring_bytes: 2 ** 22 }),
      flags: { host: "127.0.0.2" },
    });
    const { port, ringBytes, workers, host, profile, exportThreads, syncIntervalMs } = sources;
    assert.deepEqual(
      { port, ringBytes, workers, host, profile, exportThreads, syncIntervalMs },
      {
        port: "port in edge.toml",
        ringBytes: "ring_bytes in edge.toml",
        workers: "MILLRACE_WORKERS",
        host: "--host",
        profile: "MILLRACE_PROFILE",
        exportThreads: "MILLRACE_PROFILE=small",
        syncIntervalMs: "default",
      },
    );
  });
});

describe("loadSettings, refusals", () => {
  it("names the setting as it was given, the value and what it must be", () => {
    assert.equal(
      refusal({ env: { STREAM_MANAGER_SERVER_PORT: "70000" } }),
      "STREAM_MANAGER_SERVER_PORT is 70000 and must be an integer from 0 to 65535",
    );
    assert.equal(
      refusal({ flags: { ringBytes: "3000000" } }),
      "--ring-bytes is 3000000 and must be a power of two from 2097152 to 268435456 (bytes)",
    );
    assert.equal(
      refusal({ file: file({ workers: "many" }) }),
      'workers in edge.toml is "many" and must be an integer from 1 to 64, or "auto"',
    );
  });

  for (const [name, value] of [
    ["STREAM_MANAGER_SERVER_PORT", "-1"],
    ["STREAM_MANAGER_SERVER_PORT", "80.5"],
    ["STREAM_MANAGER_SERVER_PORT", "0x50"],
    ["STREAM_MANAGER_SERVER_PORT", "1e3"],
    ["STREAM_MANAGER_AUTHENTICATE_CLIENT", "yes"],
    ["STREAM_MANAGER_EXPORTER_THREAD_POOL_SIZE", "0"],
    ["STREAM_MANAGER_READ_ONLY_DIRS", "data"],
    ["LOG_LEVEL", "loud"],
    ["MILLRACE_HOST", "two words"],
    ["MILLRACE_WORKERS", "0"],
    ["MILLRACE_COMMIT_ALIGN_BYTES", "1024"],
    ["MILLRACE_MESSAGE_BYTES_MAX", "16777217"],
    ["MILLRACE_SYNC_BYTES", "99999999999999999999"],
    ["MILLRACE_ALLOWED_ORIGINS", "panel.local"],
  ] as const) {
    it(`refuses ${name}=${value}`, () => {
      assert.ok(refusal({ env: { [name]: value } }).startsWith(`${name} is `));
    });
  }

  it("refuses the text of a number in a file, and a key that is no setting", () => {
    assert.match(refusal({ file: file({ port: "8088" }) }), /^port in edge\.toml is "8088" and must be/);
    assert.match(
      refusal({ file: file({ prot: 1 }) }),
      /^"prot" in edge\.toml is not a setting; there are profile, store_d/,
    );
  });

  it("keeps a long or many-lined value on one short line", () => {
    const message = refusal({ env: { STREAM_MANAGER_SERVER_PORT: `1\n${"9".repeat(500)}` } });
    assert.ok(message.length < 200, message);
  });

  it("refuses an address that others can reach while clients need no token", () => {
    const env = { MILLRACE_HOST: "0.0.0.0", STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" };
    assert.match(refusal({ env }), /^MILLRACE_HOST is "0\.0\.0\.0", which other machines can reach/);
    assert.equal(load({ env: { ...env, MILLRACE_HOST: "127.0.0.2" } }).settings.host, "127.0.0.2");
    assert.equal(load({ env: { MILLRACE_HOST: "0.0.0.0" } }).settings.host, "0.0.0.0");
  });
});

describe("loadSettings, notices", () => {
  it("says which settings it takes and does not use, and whence they came", () => {
    const inFile = load({ file: file({ jvm_arguments: "-Xmx1g" }) });
    assert.deepEqual(inFile.notices, ["jvm_arguments in edge.toml has no effect: there is no JVM"]);
    const inVariable = load({ env: { JVM_ARGS: "-Xmx1g" } });
    assert.deepEqual(inVariable.notices, ["JVM_ARGS has no effect: there is no JVM"]);
  });

  it("points out a variable of ours that is no setting", () => {
    const env = {
      MILLRACE_SYNC_BYTE: "1",
      MILLRACE_TEST_NODE_22: "x",
      MILLRACE_TOKEN: "y",
      MILLRACE_URL: "z",
    };
    assert.deepEqual(load({ env }).notices, ["MILLRACE_SYNC_BYTE has no effect: there is no such setting"]);
  });
});

describe("isLoopback", () => {
  it("knows the addresses that only this machine reaches", () => {
    assert.deepEqual(["127.0.0.1", "127.9.9.9", "::1", "localhost"].filter(isLoopback).length, 4);
    const others = [
      "0.0.0.0",
      "::",
      "192.168.1.2",
      "127.0.0.1.example.com",
      "localhost.example.com",
      "127.1",
    ];
    assert.deepEqual(others.filter(isLoopback), []);
  });
});

describe("loadSettings, credentials for a device certificate", () => {
  const env = {
    MILLRACE_AWS_IOT_CREDENTIALS_ENDPOINT: "c1.credentials.iot.eu-west-1.amazonaws.com",
    MILLRACE_AWS_IOT_ROLE_ALIAS: "edge-export",
    MILLRACE_AWS_IOT_CERTIFICATE: "/etc/millrace/device.pem",
    MILLRACE_AWS_IOT_KEY: "/etc/millrace/device.key",
  };

  it("takes the four that are needed, and refuses some of them alone", () => {
    const { settings } = load({ env });
    assert.equal(settings.iotRoleAlias, "edge-export");
    for (const name of Object.keys(env)) {
      assert.match(refusal({ env: { ...env, [name]: "" } }), new RegExp(`is set, and ${name} must be too`));
    }
    assert.match(
      refusal({ env: { MILLRACE_AWS_IOT_THING_NAME: "gateway" } }),
      /^MILLRACE_AWS_IOT_THING_NAME is set, and MILLRACE_AWS_IOT_CREDENTIALS_ENDPOINT must be too$/,
    );
  });

  it("refuses an endpoint that is an address of a page, or holds a path", () => {
    for (const endpoint of [
      "https://a.example",
      "a.example/x",
      "a.example:0",
      "a.example:65536",
      "a b",
      "a@b",
      "a.example:443x",
    ]) {
      const text = refusal({ env: { ...env, MILLRACE_AWS_IOT_CREDENTIALS_ENDPOINT: endpoint } });
      assert.match(text, /must be a host name, with :port where that is not 443$/);
    }
  });
});
