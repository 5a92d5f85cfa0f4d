/* What is looked at of an answer before it is believed: whatever else answers with 200 and JSON is no gateway. */

type Fields = Readonly<Record<string, unknown>>;
export type Shape = (body: Fields) => boolean;

export const isUpload: Shape = ({ id, state, receivedBytes }) =>
  typeof id === 'string' && id !== '' && typeof state === 'string' && typeof receivedBytes === 'number';
export const isUploadList: Shape = ({ uploads }) => isListOf(uploads, isUpload);
export const isPart: Shape = ({ partNumber, etag }) => typeof partNumber === 'number' && typeof etag === 'string';
export const isPartList: Shape = ({ parts, missing, nextAfter }) =>
  isListOf(parts, isPart) &&
  isListOf(missing, ({ partNumber }) => typeof partNumber === 'number') &&
  (nextAfter === undefined || typeof nextAfter === 'number');
export const isProgress: Shape = ({ id, missing }) =>
  typeof id === 'string' && isListOf(missing, ({ offset }) => typeof offset === 'number');
export const isSignedList: Shape = ({ parts }) =>
  isListOf(parts, ({ url, headers }) => typeof url === 'string' && isObject(headers));

/** @returns `undefined` where it is another shape, or no JSON */
export function parseAs(text: string, shape: Shape): Fields | undefined {
  try {
    const body: unknown = JSON.parse(text);
    return isObject(body) && shape(body) ? body : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null;
}

function isListOf(value: unknown, shape: Shape): boolean {
  return Array.isArray(value) && value.every((each) => isObject(each) && shape(each));
}
