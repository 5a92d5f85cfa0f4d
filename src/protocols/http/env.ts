import type { HttpBindings } from '@hono/node-server';
import type { Principal } from '../../core/principal.ts';

/** What every route finds in its context. */
export interface HttpEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    principal: Principal;
  };
}
