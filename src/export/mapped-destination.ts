import { ANALYTICS_ENDED, ruleFor, type ExportMapRule, type ExportMapTarget } from "../core/export-map.ts";
import { FILE_EXPORT_ROTATE_BYTES_DEFAULT } from "../core/limits.ts";
import { ExportFormat } from "../core/stream-definition.ts";

/** Where an exporter sends to instead, and what is to be said of that, or of there being nobody. */
interface Mapped {
  readonly destination?: MappedTarget;
  readonly notice: string;
}

type MappedTarget =
  | { readonly kind: "kinesis"; readonly kinesisStreamName: string; readonly partitionKey: string }
  | { readonly kind: "http"; readonly uri: string; readonly exportFormat: ExportFormat }
  | {
      readonly kind: "file";
      readonly directory: string;
      readonly format: "jsonLines";
      readonly gzip: boolean;
      readonly rotateBytes: number;
      readonly rotateMs: undefined;
    };

/** Sends an exporter to IoT Analytics where the map says, as it would one that was configured so. */
export function mapAnalytics(
  iotChannel: string,
  { exportMap, partitionKey }: { exportMap: readonly ExportMapRule[]; partitionKey: string },
): Mapped {
  const rule = ruleFor(exportMap, iotChannel);
  if (rule === undefined) {
    const notice = `${ANALYTICS_ENDED}: remove the exporter, or name another destination in MILLRACE_EXPORT_MAP`;
    return { notice };
  }
  return {
    destination: targetSettings(rule.target, partitionKey),
    notice: `sent to ${rule.targetText} by MILLRACE_EXPORT_MAP`,
  };
}

function targetSettings(target: ExportMapTarget, partitionKey: string): MappedTarget {
  switch (target.kind) {
    case "kinesis":
      return { ...target, partitionKey };
    case "http":
      return { ...target, exportFormat: ExportFormat.JSON_BATCHED };
    case "file": {
      const rotateBytes = FILE_EXPORT_ROTATE_BYTES_DEFAULT;
      return { ...target, format: "jsonLines", gzip: false, rotateBytes, rotateMs: undefined };
    }
  }
}
