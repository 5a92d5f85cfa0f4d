import type { HttpBindings } from '@hono/node-server';
import type { Principal } from '../../core/principal.ts';
import type { Admission } from './admission.ts';

/** What every route finds in its context. */
export interface HttpEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    principal: Principal;
    /** A client that sends nothing for so long in the middle of a body has stalled. */
    bodyIdleMs: number;
    admission: Admission;
  };
}
