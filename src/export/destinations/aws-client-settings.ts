import { systemClock } from "../../core/clock.ts";
import { EXPORT_PROGRESS_MS_MAX } from "../../core/limits.ts";
import {
  type DestinationEnvironment,
  destinationEnvironmentDefault,
  type IotCredentialSettings,
} from "../worker-settings.ts";
import { BoundedHttpHandler } from "./bounded-http-handler.ts";
import { type AwsCredentialProvider, IotCredentials } from "./iot-credentials.ts";

/** What the constructor of every AWS client gets. */
export interface AwsClientSettings {
  readonly requestHandler: BoundedHttpHandler;
  /** Retries are ours: the SDK's own would send whole batches again, unseen and uncounted. */
  readonly maxAttempts: 1;
  /** Missing where the SDK's own chain finds credentials. */
  readonly credentials?: AwsCredentialProvider;
}

/** All clients of a thread share the credentials: fetched once, and not once a client. */
const providers = new WeakMap<IotCredentialSettings, AwsCredentialProvider>();

/** Region and endpoint are not among them: those come from the SDK's own variables and files. */
export function awsClientSettings({
  environment = destinationEnvironmentDefault,
  progressMsMax = EXPORT_PROGRESS_MS_MAX,
}: {
  readonly environment?: DestinationEnvironment;
  /** Without progress: see BoundedHttpHandler. */
  readonly progressMsMax?: number;
}): AwsClientSettings {
  const { authoritiesPath } = environment;
  const requestHandler = new BoundedHttpHandler({ progressMsMax, authoritiesPath });
  const { iotCredentials } = environment;
  if (iotCredentials === undefined) return { requestHandler, maxAttempts: 1 };
  let credentials = providers.get(iotCredentials);
  if (credentials === undefined) {
    credentials = new IotCredentials(iotCredentials, { clock: systemClock }).provider;
    providers.set(iotCredentials, credentials);
  }
  return { requestHandler, maxAttempts: 1, credentials };
}
