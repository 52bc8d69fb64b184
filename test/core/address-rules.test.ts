import assert from "node:assert/strict";
import { test } from "node:test";
import { isInward, isNamed, parseAddressRule } from "../../src/core/address-rules.ts";

/** As the URL parser of Node.js gives the host of a URL back. */
function hostOf(url: string): string {
  return new URL(url).hostname;
}

test("isInward knows this machine, its link and private networks in every spelling", () => {
  const spellings = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[::127.0.0.1]/",
    "http://169.254.169.254/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fd12:3456::1]/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[2001::1]/",
    "http://[2001:db8::1]/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://192.0.0.8/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://①②⑦.⓪.⓪.①/",
  ];
  for (const url of spellings) assert.ok(isInward(hostOf(url)), url);
  assert.ok(isInward("fe80::1%eth0"), "with a zone");
});

test("isInward lets the internet pass, and this machine's own address on it not", () => {
  const outside = [
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "169.253.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
  ];
  for (const address of [...outside, "64:ff9b::808:808", "2002:808:808::1"]) {
    assert.ok(!isInward(address), address);
  }
  assert.ok(isInward("2606:4700:0:0::1111", ["2606:4700::1111"]));
  assert.ok(isInward("::ffff:1.1.1.1", ["1.1.1.1"]));
});

function isAllowed(rules: readonly string[], url: string, address = hostOf(url)): boolean {
  const { hostname: host, port, protocol } = new URL(url);
  const parsed = rules.map((text) => parseAddressRule(text) ?? assert.fail(text));
  const usual = protocol === "https:" ? 443 : 80;
  return isNamed(parsed, { address, host, port: port === "" ? usual : Number(port) });
}

test("isNamed takes hosts by name, addresses by network, and a port where one is named", () => {
  assert.ok(isAllowed(["collector.local"], "http://Collector.local./", "10.0.0.9"));
  assert.ok(!isAllowed(["collector.local"], "http://other.local/", "10.0.0.9"));
  assert.ok(!isAllowed(["collector.local"], "http://x.collector.local/", "10.0.0.9"));
  assert.ok(isAllowed(["10.0.0.0/8"], "http://any.local/", "10.200.0.1"));
  assert.ok(!isAllowed(["10.0.0.0/8"], "http://any.local/", "11.0.0.1"));
  assert.ok(isAllowed(["127.0.0.1:9000"], "http://localhost:9000/", "127.0.0.1"));
  assert.ok(isAllowed(["127.0.0.1:9000"], "http://localhost:9000/", "::ffff:127.0.0.1"));
  assert.ok(!isAllowed(["127.0.0.1:9000"], "http://localhost:8088/", "127.0.0.1"), "the engine's own port");
  assert.ok(!isAllowed(["127.0.0.1"], "http://localhost/", "::1"));
  assert.ok(isAllowed(["[::1]:80"], "http://[::1]/"));
  assert.ok(!isAllowed(["[::1]:81"], "http://[::1]/"));
  assert.ok(isAllowed(["fd00::/8"], "https://[fd12::1]/"));
  assert.ok(isAllowed(["[fd00::/8]:443"], "https://[fd12::1]/"));
  assert.ok(!isAllowed(["[fd00::/8]:444"], "https://[fd12::1]/"));
});

test("parseAddressRule takes nothing that is no host, address or network", () => {
  for (const text of [
    "",
    "a b",
    "10.0.0.0/33",
    "::1/129",
    "10.0.0.256",
    "1.2.3",
    "http://x/",
    "x/8",
    "x:0",
    "x:70000",
  ]) {
    assert.equal(parseAddressRule(text), undefined, text);
  }
  for (const text of [
    "[::1",
    "::1]:80",
    "[::1/129]:80",
    "10.0.0.0/8/9",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "*",
    "*.local",
  ]) {
    assert.equal(parseAddressRule(text), undefined, text);
  }
});
