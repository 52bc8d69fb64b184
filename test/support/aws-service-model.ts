import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { gunzipSync } from "node:zlib";
import { skipOrFail } from "./require-program.ts";

/*
 * The models that AWS publishes of its services, as Debian's package python3-botocore has them, and a check of requests
 * against them: what they say is required, of which type, how long, how large, of which form.
 */
const MODELS = "/usr/lib/python3/dist-packages/botocore/data";

interface Shape {
  readonly type: string;
  readonly required?: readonly string[];
  readonly members?: Readonly<Record<string, { readonly shape: string }>>;
  readonly member?: { readonly shape: string };
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
  readonly enum?: readonly string[];
  readonly error?: { readonly httpStatusCode: number };
}

export interface ServiceModel {
  readonly metadata: {
    readonly protocol: string;
    readonly signingName: string;
    readonly endpointPrefix: string;
  };
  readonly operations: Readonly<
    Record<
      string,
      {
        readonly http: { readonly method: string; readonly requestUri: string };
        readonly input: { readonly shape: string };
        readonly errors: readonly { readonly shape: string }[];
      }
    >
  >;
  readonly shapes: Readonly<Record<string, Shape>>;
}

/** Undefined where the package is not installed. */
export function findModel(service: string, version: string): ServiceModel | undefined {
  const file = path.join(MODELS, service, version, "service-2.json");
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as ServiceModel;
  // Later versions of the package have it compressed.
  if (!existsSync(`${file}.gz`)) return undefined;
  return JSON.parse(gunzipSync(readFileSync(`${file}.gz`)).toString()) as ServiceModel;
}

/** Undefined where the package is not installed: then the test is skipped, or under CI=true fails. */
export function requireModel(t: TestContext, service: string, version: string): ServiceModel | undefined {
  const model = findModel(service, version);
  if (model === undefined) {
    skipOrFail(
      t,
      `the model of ${service} is not there; needed to check requests against it (python3-botocore)`,
    );
  }
  return model;
}

/** Checks the body of a request to an operation. @throws what the model has against it, with the place */
export function checkInput(model: ServiceModel, operation: string, body: unknown): void {
  checkShape(model, model.operations[operation]!.input.shape, body, operation);
}

/** The status that the model gives an error of an operation. */
export function statusOf(model: ServiceModel, error: string): number | undefined {
  return model.shapes[error]?.error?.httpStatusCode;
}

function checkShape(model: ServiceModel, name: string, value: unknown, at: string): void {
  const shape = model.shapes[name];
  if (shape === undefined) throw new Error(`${at}: the model has no shape ${name}`);
  switch (shape.type) {
    case "structure":
      checkStructure(model, shape, value, at);
      return;
    case "list":
      if (!Array.isArray(value)) throw mismatch(at, value, "a list");
      checkRange(shape, value.length, `${at}: length`);
      for (const [index, one] of value.entries())
        checkShape(model, shape.member!.shape, one, `${at}[${index}]`);
      return;
    case "string":
      if (typeof value !== "string") throw mismatch(at, value, "a string");
      checkString(shape, value, at);
      return;
    case "integer":
    case "long":
      if (!Number.isInteger(value)) throw mismatch(at, value, "an integer");
      if (shape.type === "integer") checkRange({ min: -(2 ** 31), max: 2 ** 31 - 1 }, value as number, at);
      checkRange(shape, value as number, at);
      return;
    case "double":
      if (typeof value !== "number") throw mismatch(at, value, "a number");
      return;
    case "boolean":
      if (typeof value !== "boolean") throw mismatch(at, value, "a boolean");
      return;
    case "blob":
      if (typeof value !== "string" || Buffer.from(value, "base64").toString("base64") !== value) {
        throw mismatch(at, value, "base64");
      }
      return;
    default:
      throw new Error(`${at}: shapes of type ${shape.type} are not checked here`);
  }
}

function checkStructure(model: ServiceModel, shape: Shape, value: unknown, at: string): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw mismatch(at, value, "an object");
  const fields = value as Record<string, unknown>;
  for (const name of shape.required ?? []) {
    if (fields[name] === undefined) throw new Error(`${at}.${name} is missing`);
  }
  for (const [name, field] of Object.entries(fields)) {
    const member = shape.members?.[name];
    if (member === undefined) throw new Error(`${at}.${name} is not in the model`);
    checkShape(model, member.shape, field, `${at}.${name}`);
  }
}

function checkString(shape: Shape, value: string, at: string): void {
  checkRange(shape, Array.from(value).length, `${at}: length`);
  if (shape.pattern !== undefined && !new RegExp(`^(?:${shape.pattern})$`, "u").test(value)) {
    throw mismatch(at, value, `of the form ${shape.pattern}`);
  }
  if (shape.enum !== undefined && !shape.enum.includes(value))
    throw mismatch(at, value, shape.enum.join(" or "));
}

function checkRange(
  { min = -Infinity, max = Infinity }: Pick<Shape, "min" | "max">,
  size: number,
  at: string,
): void {
  if (size < min || size > max) throw new Error(`${at} is ${size}, must be from ${min} to ${max}`);
}

function mismatch(at: string, value: unknown, wanted: string): Error {
  return new Error(`${at} is ${JSON.stringify(value).slice(0, 100)}, must be ${wanted}`);
}
