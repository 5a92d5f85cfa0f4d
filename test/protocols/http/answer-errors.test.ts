import { Hono } from 'hono';
import { describe, expect, test } from 'vitest';
import { UploadError, type UploadErrorCode } from '../../../src/core/errors.ts';
import { answerErrors } from '../../../src/protocols/http/answer-errors.ts';
import type { HttpEnv } from '../../../src/protocols/http/env.ts';
import { problemsBy } from '../../../src/protocols/http/problem.ts';

describe('the log', () => {
  test.each<[UploadErrorCode, boolean]>([
    ['busy', false],
    ['body_timeout', false],
    ['incomplete', false],
    ['overloaded', true],
    ['store_unavailable', true],
    ['store_full', true],
    ['store_refused', true],
    ['records_unavailable', true],
  ])('of %s, answered with 503, has a fault: %s', async (code, isFault) => {
    const faults: UploadError[] = [];
    const app = new Hono<HttpEnv>();
    app.onError(
      answerErrors(
        problemsBy(() => ({ status: 503, title: 'Not now' })),
        {
          onFault: (_, error) => faults.push(error),
          onBug: expect.fail,
        },
      ),
    );
    const error = new UploadError(code, 'Try again.');
    app.get('/', () => {
      throw error;
    });
    expect((await app.request('/')).status).toBe(503);
    expect(faults).toEqual(isFault ? [error] : []);
  });
});
