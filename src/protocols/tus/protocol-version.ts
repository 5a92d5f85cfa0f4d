import type { MiddlewareHandler } from 'hono';
import type { HttpEnv } from '../http/env.ts';
import { problemResponse } from '../http/problem.ts';
import { methodOf } from './method.ts';

export const tusVersion = '1.0.0';

/** "The Tus-Resumable header MUST be included in every request and response except for OPTIONS requests." */
export const requireVersion: MiddlewareHandler<HttpEnv> = async (c, next) => {
  const method = methodOf(c);
  if (method === 'OPTIONS') return next();
  c.env.outgoing.setHeader('Tus-Resumable', tusVersion);
  // GET is not of the protocol: a browser follows a link.
  if (method === 'GET' || c.req.header('tus-resumable') === tusVersion) return next();
  // "If the version specified by the Client is not supported by the Server, it MUST respond with the 412 Precondition
  // Failed status and MUST include the Tus-Version header into the response. In addition, the Server MUST NOT process
  // the request."
  c.env.outgoing.setHeader('Tus-Version', tusVersion);
  return problemResponse({
    status: 412,
    requestId: c.get('requestId'),
    body: {
      title: 'Version not supported',
      detail: `Send Tus-Resumable: ${tusVersion}.`,
      code: 'unsupported_version',
    },
  });
};
