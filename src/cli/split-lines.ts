import { MESSAGE_BYTES_MAX_DEFAULT } from "../core/limits.ts";
import { MillraceError } from "../core/errors.ts";

const NEWLINE = 0x0a;

/**
 * Cuts a stream of bytes at newlines. Gives one array of lines for each chunk that completes any, without the newlines; bytes after the last
 * newline are a line too. Nothing else is changed, so that any bytes but a newline may be in a message. The lines may be
 * views of the chunks.
 * @throws {MillraceError} MESSAGE_TOO_LARGE for a line that no engine would take, before more of it is read
 */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array[]> {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for await (const chunk of chunks) {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const part = chunk.subarray(start, end);
      lines.push(pending.length === 0 ? part : Buffer.concat([...pending, part]));
      pending = [];
      pendingBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
    }
    if (lines.length > 0) yield lines;
    if (pendingBytes > MESSAGE_BYTES_MAX_DEFAULT) {
      throw new MillraceError(
        "MESSAGE_TOO_LARGE",
        `Cannot append a line of more than ${pendingBytes} bytes: the maximum is ${MESSAGE_BYTES_MAX_DEFAULT}`,
      );
    }
  }
  if (pending.length > 0) yield [Buffer.concat(pending)];
}
