import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
import type { DestinationKind } from "../../core/stream-definition.ts";
import type { Storage } from "../../log/storage.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type { Destination } from "./destination.ts";

export interface LoadOptions {
  readonly random: Random;
  readonly environment: DestinationEnvironment;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly storeDirectory: string;
}

/** Makes a destination, importing what it needs now and not before. */
export async function loadDestination(kind: DestinationKind, options: LoadOptions): Promise<Destination> {
  switch (kind) {
    case "kinesis": {
      const { KinesisDestination } = await import("./kinesis.ts");
      return KinesisDestination.load(options);
    }
    case "s3TaskExecutor": {
      const { S3Destination } = await import("./s3.ts");
      return S3Destination.load(options);
    }
    case "file": {
      const { FileDestination } = await import("./file.ts");
      return new FileDestination(options);
    }
    case "http": {
      const { HttpDestination } = await import("./http.ts");
      return new HttpDestination(options);
    }
    case "iotAnalytics": {
      const { IotAnalyticsDestination } = await import("./iot-analytics.ts");
      return IotAnalyticsDestination.load(options);
    }
    case "IotSitewise": {
      const { IotSiteWiseDestination } = await import("./iot-sitewise.ts");
      return IotSiteWiseDestination.load(options);
    }
  }
}
