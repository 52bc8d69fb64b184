import { MillraceError } from "../core/errors.ts";
import { EXPORTERS_PER_STREAM_MAX } from "../core/limits.ts";
import { destinationKinds } from "../core/stream-definition.ts";
import type { StoredDefinition } from "../stream/definition-file.ts";

/**
 * What a stream is to be, with the options of exporters that it has; those of exporters that it has no more go with them.
 * @throws {MillraceError} INVALID_REQUEST for an identifier that is there twice, for too many exporters, and for options of an
 * exporter that is not there, if `wished` names it
 */
export function fitExporterOptions(
  { definition, options }: StoredDefinition,
  wished: readonly string[] = [],
): StoredDefinition {
  const identifiers = identifiersOf({ definition, options });
  const known = new Set(identifiers);
  const what = `Cannot configure stream "${definition.name}"`;
  const refuse = (why: string): MillraceError => new MillraceError("INVALID_REQUEST", `${what}: ${why}`);
  const twice = identifiers.find((one, index) => identifiers.indexOf(one) !== index);
  if (twice !== undefined) throw refuse(`it would have the exporter "${twice}" twice`);
  if (known.size > EXPORTERS_PER_STREAM_MAX) {
    throw refuse(`it would have ${known.size} exporters, the maximum is ${EXPORTERS_PER_STREAM_MAX}`);
  }
  const stranger = wished.find((one) => !known.has(one));
  if (stranger !== undefined) throw refuse(`it has no exporter "${stranger}"`);
  const { exporters: before, ...others } = options;
  const kept = Object.entries(before ?? {}).filter(([identifier]) => known.has(identifier));
  return {
    definition,
    options: kept.length === 0 ? others : { ...others, exporters: Object.fromEntries(kept) },
  };
}

/** The exporters that a wish for options gives options to: more than null. */
export function wishedExporters(options: object): string[] {
  const exporters: unknown = "exporters" in options ? options.exporters : {};
  if (typeof exporters !== "object" || exporters === null) return [];
  return Object.entries(exporters).flatMap(([identifier, change]) => (change === null ? [] : [identifier]));
}

function identifiersOf({ definition, options }: StoredDefinition): string[] {
  const ofKinds = destinationKinds.flatMap((kind) =>
    definition.exportDefinition[kind].map(({ identifier }) => identifier),
  );
  return [...ofKinds, ...(options.files ?? []).map(({ identifier }) => identifier)];
}
