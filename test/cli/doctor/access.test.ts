import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { judgeAccess } from "../../../src/cli/doctor/access.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { systemRandom } from "../../../src/core/random.ts";
import { createNamedToken, namedTokensPath } from "../../../src/net/named-tokens.ts";
import { ensureToken, tokenPath } from "../../../src/net/token-store.ts";
import { makeCertificate } from "../../support/certificates.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";

const DAY_MS = 86_400_000;

test("judgeAccess says what would keep clients out, and nothing of what is as it should be", (t) => {
  const storeDirectory = path.join(temporaryDirectory(t), "store");
  const files = { tlsCertificate: `${storeDirectory}-cert.pem`, tlsKey: `${storeDirectory}-key.pem` };
  const judge = (authenticate = true) =>
    judgeAccess({ storeDirectory, authenticate, ...files }, systemClock).map(
      ({ kind, text }) => `${kind}: ${text}`,
    );
  const writeTls = (notAfterMs: number): void => {
    const { certificate, key } = makeCertificate({ notAfter: new Date(Date.now() + notAfterMs) });
    writeFileSync(files.tlsCertificate, certificate);
    writeFileSync(files.tlsKey, key, { mode: 0o600 });
  };
  writeTls(30 * DAY_MS);
  // A store that is not there yet has no tokens.
  assert.deepEqual(judge(), []);
  mkdirSync(storeDirectory, { mode: 0o700 });
  ensureToken({ directory: storeDirectory, random: systemRandom });
  const patterns = { append: ["*"], read: [], manage: [], metrics: false };
  createNamedToken({ storeDirectory, name: "camera", patterns, random: systemRandom, clock: systemClock });
  assert.deepEqual(judge(), []);

  writeFileSync(path.join(namedTokensPath(storeDirectory), "camera"), "torn");
  assert.match(judge().join("\n"), /^advice: Cannot trust .*camera: .*: its token lets nobody in$/);
  chmodSync(tokenPath(storeDirectory), 0o644);
  assert.match(judge()[0]!, /^unfit: Cannot trust .*token: mode 644 lets others in/);
  assert.deepEqual(judge(false), []);

  writeTls(3 * DAY_MS + 60_000);
  assert.match(judge(false).join("\n"), /^advice: the certificate .*cert\.pem expires in 3 days$/);
  writeTls(-DAY_MS - 60_000);
  assert.match(judge(false).join("\n"), /^advice: the certificate .*cert\.pem expired 1 days ago$/);
  chmodSync(files.tlsKey, 0o644);
  assert.match(judge(false).join("\n"), /^unfit: Cannot use TLS key .*key\.pem: mode 644/);
});
