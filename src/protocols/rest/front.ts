import { OpenAPIHono } from '@hono/zod-openapi';
import type { Deps } from '../../core/deps.ts';
import { UploadError } from '../../core/errors.ts';
import type { Admission } from '../http/admission.ts';
import type { HttpEnv } from '../http/env.ts';

/** What the REST routes work with. */
export interface RestDeps {
  readonly core: Deps;
  readonly admission: Admission;
  /** The URL that clients use. */
  readonly publicUrl: string | undefined;
  /** Whether `/objects/<key>` serves what was uploaded. */
  readonly readsObjects: boolean;
}

/** An app whose routes refuse what their schemas do not allow, with every fault named. */
export function createRestApp(): OpenAPIHono<HttpEnv> {
  return new OpenAPIHono<HttpEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const faults = result.error.issues.map(({ path, message }) => ({ field: path.join('.'), message }));
      throw new UploadError('invalid_request', describe(faults), { details: { faults: faults.slice(0, 20) } });
    },
  });
}

function describe(faults: readonly { field: string; message: string }[]): string {
  const [first] = faults;
  if (first === undefined) return 'The request is not valid.';
  return first.field === '' ? `${first.message}.` : `${first.field}: ${first.message}.`;
}
