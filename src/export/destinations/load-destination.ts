import { MillraceError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { DestinationKind } from "../../core/stream-definition.ts";
import type { Destination } from "./destination.ts";

/** Makes a destination, importing what it needs now and not before. */
export async function loadDestination(
  kind: DestinationKind,
  options: { readonly random: Random },
): Promise<Destination> {
  switch (kind) {
    case "kinesis": {
      const { KinesisDestination } = await import("./kinesis.ts");
      return KinesisDestination.load(options);
    }
    case "http":
    case "iotAnalytics":
    case "IotSitewise":
    case "s3TaskExecutor":
      throw new MillraceError(
        "INVALID_REQUEST",
        `Cannot export: destination ${kind} is not available in this version`,
      );
  }
}
