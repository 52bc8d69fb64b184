import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { loadNativeBindings } from "../../src/native/native-bindings.ts";
import { quickAcknowledgement } from "../../src/native/quick-ack.ts";
import { builtAddon } from "../support/native-addon.ts";
import { delaysAcknowledgements } from "../support/tcp-table.ts";

const timeout = 20_000;
const ENOPROTOOPT = 92;
const never = (name: string): void => assert.fail(`refused: ${name}`);

/** Both ends of a connection over loopback. */
async function connection(t: TestContext): Promise<{ client: Socket; server: Socket }> {
  const listener = createServer({ noDelay: true });
  listener.listen({ port: 0, host: "127.0.0.1" });
  await once(listener, "listening");
  const accepted = once(listener, "connection");
  const client = connect({
    port: (listener.address() as AddressInfo).port,
    host: "127.0.0.1",
    noDelay: true,
  });
  const [server] = (await accepted) as [Socket];
  t.after(() => {
    client.destroy();
    server.destroy();
    listener.close();
  });
  return { client, server };
}

describe("quickAcknowledgement", () => {
  it("ends the kernel's delay on a connection that was question and answer", { timeout }, async (t) => {
    const file = builtAddon(t);
    if (file === undefined) return;
    const { bindings } = loadNativeBindings(file);
    assert.ok(bindings !== undefined);
    const { client, server } = await connection(t);
    const ports = { localPort: server.localPort!, remotePort: server.remotePort! };
    // The kernel takes an answer for one only when it comes soon after its question, and gives up delaying when a timer ran out.
    for (;;) {
      client.write("question");
      await once(server, "data");
      if (delaysAcknowledgements(ports) === true) break;
      server.write("answer");
      await once(client, "data");
    }
    quickAcknowledgement(bindings, never)(server);
    assert.equal(delaysAcknowledgements(ports), false);
  });

  it("leaves a socket alone that is closed or never was open", { timeout }, async (t) => {
    const acknowledge = quickAcknowledgement(
      { acknowledgeNow: () => assert.fail("no descriptor to call with") },
      never,
    );
    const { client, server } = await connection(t);
    server.destroy();
    acknowledge(server);
    client.destroy();
    await once(client, "close");
    acknowledge(client);
    acknowledge(new Socket());
  });

  it(
    "passes the descriptor of an open socket, and tells of the first refusal only",
    { timeout },
    async (t) => {
      const descriptors: number[] = [];
      const refusals: string[] = [];
      const acknowledgeNow = (descriptor: number): number => {
        descriptors.push(descriptor);
        return descriptors.length === 1 ? 0 : ENOPROTOOPT;
      };
      const acknowledge = quickAcknowledgement({ acknowledgeNow }, (name) => refusals.push(name));
      const { server } = await connection(t);
      for (let call = 0; call < 4; call++) acknowledge(server);
      assert.equal(descriptors.length, 4);
      assert.ok(descriptors.every((descriptor) => descriptor > 2));
      assert.deepEqual(refusals, ["ENOPROTOOPT"]);
    },
  );
});
