import { createInferenceDataSet, type DataSet } from "./data-set.ts";
import { createSensorDataSet } from "./data-set-sensor.ts";
import { createTensorDataSet } from "./data-set-tensor.ts";
import { createFileDataSet } from "./data-set-file.ts";

export type CreateDataSet = (count: number) => DataSet;

/** The data sets that are the same on every machine. */
export const seededDataSets: Readonly<Record<string, CreateDataSet>> = {
  inference: createInferenceDataSet,
  tensors: createTensorDataSet,
  sensors: createSensorDataSet,
};

export const DATA_SET_DEFAULT = "inference";

/** A seeded data set by its name, or the lines of the user's own file by its path. @throws Error when it is neither */
export function chooseDataSet(choice: string): CreateDataSet {
  if (Object.hasOwn(seededDataSets, choice)) return seededDataSets[choice]!;
  return (count) => createFileDataSet(choice, count);
}
