import { applyEffect, SimStorage } from "./sim-storage.ts";

/** One of the states that a power cut right behind `operation` may leave. */
export function afterPowerCut(storage: SimStorage, operation: number, random: () => number): SimStorage {
  const image = storage.durableImage(operation);
  const pending = storage.pending(operation);
  // All, none, a beginning, or any part of what was not durable, with one write torn.
  const dice = random();
  const share = dice < 0.15 ? 0 : dice < 0.3 ? 1 : random();
  const isPrefix = random() < 0.3;
  const torn = random() < 0.5 ? pending[Math.floor(random() * pending.length)] : undefined;
  pending.forEach((effect, index) => {
    const isKept = isPrefix ? index < share * pending.length : random() < share;
    if (effect === torn && effect.type === "data") {
      const part = Buffer.alloc(effect.bytes.length);
      effect.bytes.copy(part, 0, 0, Math.floor(random() * part.length));
      applyEffect(image, effect, part);
    } else if (isKept) applyEffect(image, effect);
  });
  return new SimStorage({ image });
}
