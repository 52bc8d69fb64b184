/**
 * The one framing of messages in batches, blocks and pushes, little-endian:
 *
 *   +---------------+------------------+---------------+-----------
 *   | length u32    | payload, length B | length u32    | …
 *   +---------------+------------------+---------------+-----------
 *
 * Nothing else lies between messages, so that an LZ4 segment decompresses to exactly this. A payload has at least one byte.
 */
export const MESSAGE_LENGTH_BYTES = 4;

/** Why a run of bytes is not a whole number of framed messages. */
export const FramingFault = { None: 0, Truncated: 1, EmptyMessage: 2, CountDiffers: 3 } as const;
export type FramingFault = (typeof FramingFault)[keyof typeof FramingFault];

/** Reads a little-endian u32 without a bounds check of its own: the caller has proved `at + 4 <= bytes.length`. */
export function readLength(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/**
 * Checks that `bytes[start, end)` is exactly `messageCount` framed messages. The payload size is then
 * `end - start - messageCount * MESSAGE_LENGTH_BYTES`. Runs once over every appended batch, so it allocates nothing.
 */
export function checkFraming(
  bytes: Uint8Array,
  start: number,
  end: number,
  messageCount: number,
): FramingFault {
  let at = start;
  let count = 0;
  while (at < end) {
    if (end - at < MESSAGE_LENGTH_BYTES) return FramingFault.Truncated;
    const length = readLength(bytes, at);
    if (length === 0) return FramingFault.EmptyMessage;
    at += MESSAGE_LENGTH_BYTES + length;
    count += 1;
  }
  if (at !== end) return FramingFault.Truncated;
  return count === messageCount ? FramingFault.None : FramingFault.CountDiffers;
}

/** A sentence for a fault, for error texts. */
export function describeFramingFault(fault: FramingFault): string {
  switch (fault) {
    case FramingFault.None:
      return "the messages are whole";
    case FramingFault.Truncated:
      return "a message length runs past the end of the batch";
    case FramingFault.EmptyMessage:
      return "a message is empty; the least is 1 byte";
    case FramingFault.CountDiffers:
      return "the announced message count differs from the messages in the batch";
  }
}
