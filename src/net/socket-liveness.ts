import { connect } from "node:net";
import { systemCode } from "../core/errors.ts";

/** Whether a process listens on the Unix socket `path`. @throws the system's error when that cannot be told */
export function isListening(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const client = connect(path);
    client.once("connect", () => {
      client.destroy();
      resolve(true);
    });
    client.once("error", (error) => {
      const code = systemCode(error);
      // A full backlog belongs to a process that lives but is busy or stopped.
      if (code === "EAGAIN") resolve(true);
      else if (code === "ECONNREFUSED" || code === "ENOENT") resolve(false);
      else reject(error);
    });
  });
}
