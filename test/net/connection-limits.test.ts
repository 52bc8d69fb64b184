import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, it } from "node:test";
import { ConnectionLimits, networkOf, type Newcomer } from "../../src/net/connection-limits.ts";
import { ManualClock } from "../support/deterministic.ts";

const limits = { connectionsPerAddressMax: 2, connectionsPerSecondMax: 10, connectionBurstMax: 5 };

type Connection = Newcomer & EventEmitter;

function connection(remoteAddress: string | undefined, localAddress?: string): Connection {
  return Object.assign(new EventEmitter(), { remoteAddress, localAddress }) as unknown as Connection;
}

const fromNetwork = (address: string | undefined): Connection => connection(address, "192.0.2.1");
const fromHere = (): Connection => connection("127.0.0.1", "127.0.0.1");

describe("ConnectionLimits", () => {
  it("lets an address of another machine have so many connections at a time, and counts each apart", () => {
    const clock = new ManualClock();
    const newcomers = new ConnectionLimits({ clock, limits: { ...limits, connectionBurstMax: 100 } });
    const first = fromNetwork("192.0.2.7");
    assert.equal(newcomers.admit(first), undefined);
    assert.equal(newcomers.admit(fromNetwork("::ffff:192.0.2.7")), undefined);
    assert.equal(newcomers.admit(fromNetwork("192.0.2.7")), "address-connections-max");
    assert.equal(newcomers.admit(fromNetwork("192.0.2.8")), undefined);
    first.emit("close");
    assert.equal(newcomers.admit(fromNetwork("192.0.2.7")), undefined);
    assert.equal(newcomers.admit(fromNetwork("192.0.2.7")), "address-connections-max");
  });

  it("does not count a refused connection, nor its end", () => {
    const newcomers = new ConnectionLimits({
      clock: new ManualClock(),
      limits: { ...limits, connectionBurstMax: 100 },
    });
    const kept = [fromNetwork("192.0.2.7"), fromNetwork("192.0.2.7")];
    for (const socket of kept) assert.equal(newcomers.admit(socket), undefined);
    for (let count = 0; count < 3; count++) {
      const refused = fromNetwork("192.0.2.7");
      assert.equal(newcomers.admit(refused), "address-connections-max");
      refused.emit("close");
    }
    assert.equal(newcomers.admit(fromNetwork("192.0.2.7")), "address-connections-max");
  });

  it("takes the /64 network of an IPv6 address for one address", () => {
    const newcomers = new ConnectionLimits({ clock: new ManualClock(), limits });
    assert.equal(newcomers.admit(fromNetwork("2001:db8:1:2::1")), undefined);
    assert.equal(newcomers.admit(fromNetwork("2001:db8:1:2:ffff:1:2:3")), undefined);
    assert.equal(newcomers.admit(fromNetwork("2001:db8:1:2::3")), "address-connections-max");
    assert.equal(newcomers.admit(fromNetwork("2001:db8:1:3::1")), undefined);
  });

  it("bounds how quickly connections come, the network's apart from this machine's own", () => {
    const clock = new ManualClock();
    const newcomers = new ConnectionLimits({ clock, limits });
    for (let count = 0; count < 5; count++) assert.equal(newcomers.admit(fromHere()), undefined);
    assert.equal(newcomers.admit(fromHere()), "accept-rate");
    assert.equal(newcomers.admit(connection(undefined)), "accept-rate", "a Unix socket is of this machine");
    for (let count = 0; count < 5; count++) {
      assert.equal(newcomers.admit(fromNetwork(`192.0.2.${count + 10}`)), undefined);
    }
    assert.equal(newcomers.admit(fromNetwork("192.0.2.99")), "accept-rate");
    clock.advance(100);
    assert.equal(newcomers.admit(fromHere()), undefined);
    assert.equal(newcomers.admit(fromHere()), "accept-rate");
    clock.advance(3_600_000);
    for (let count = 0; count < 5; count++) assert.equal(newcomers.admit(fromHere()), undefined);
    assert.equal(newcomers.admit(fromHere()), "accept-rate");
  });

  it("takes a peer that is gone again for what its address here tells", () => {
    const newcomers = new ConnectionLimits({ clock: new ManualClock(), limits });
    assert.equal(newcomers.admit(fromNetwork(undefined)), undefined);
    assert.equal(newcomers.admit(fromNetwork(undefined)), undefined);
    assert.equal(newcomers.admit(fromNetwork(undefined)), "address-connections-max");
    assert.equal(newcomers.admit(connection(undefined, "::ffff:127.0.0.1")), undefined);
    assert.equal(newcomers.admit(connection(undefined, "::1")), undefined);
  });
});

describe("networkOf", () => {
  it("writes each form of an address in one way", () => {
    const forms: readonly [string, string][] = [
      ["10.0.0.1", "10.0.0.1"],
      ["::ffff:10.0.0.1", "10.0.0.1"],
      ["2001:db8::1", "2001:db8:0:0::/64"],
      ["2001:db8:0:0:1::", "2001:db8:0:0::/64"],
      ["::1:2:3:4:5:6:7", "0:1:2:3::/64"],
      ["fe80::1%eth0", "fe80:0:0:0::/64"],
      ["1:2:3:4:5:6:7:8", "1:2:3:4::/64"],
      ["", ""],
    ];
    for (const [address, network] of forms) assert.equal(networkOf(address), network, address);
  });
});
