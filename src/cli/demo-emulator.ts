import { fork } from "node:child_process";
import { UsageError } from "./command-context.ts";
import type { ChildProcesses } from "./demo-child.ts";
import type { KinesisAccess } from "./demo-kinesis.ts";

/** What the emulator's process says once. */
export type EmulatorMessage =
  | { readonly type: "listening"; readonly port: number }
  | { readonly type: "failed"; readonly reason: string };

/** The emulator takes any credentials, but it wants some. */
const credentials = { accessKeyId: "demo", secretAccessKey: "demo" } as const;

const NOT_INSTALLED =
  "the Kinesis emulator is not installed (npm install kinesalite). To use a real or emulated Kinesis instead, " +
  "set AWS_ENDPOINT_URL_KINESIS (such as https://kinesis.eu-central-1.amazonaws.com), AWS_REGION and credentials, " +
  "and make two Kinesis streams there: ";

/**
 * Starts the emulator in a process of its own: its work must not slow the demo down.
 * @throws {UsageError} when it is not installed; `streamNames` are those that another Kinesis must have
 */
export async function startEmulator(
  processes: ChildProcesses,
  streamNames: readonly string[],
): Promise<KinesisAccess> {
  if (!isInstalled()) throw new UsageError(NOT_INSTALLED + streamNames.join(" and "));
  const child = fork(new URL("./demo-emulator-process.js", import.meta.url), {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  processes.add(child, { name: "emulator" });
  const port = await new Promise<number>((resolve, reject) => {
    child.once("message", (message: EmulatorMessage) => {
      if (message.type === "listening") resolve(message.port);
      else reject(new Error(`Cannot start the emulator: ${message.reason}`));
    });
  });
  return { endpoint: `http://127.0.0.1:${port}`, region: "us-east-1", credentials };
}

function isInstalled(): boolean {
  try {
    import.meta.resolve("kinesalite");
    return true;
  } catch {
    return false;
  }
}
