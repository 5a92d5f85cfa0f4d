import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const size = 511_920;
const file = bytesOf(size, 'big.TXT');

describe.each(await availableStores())("nginx-upload-module's clients on %s", (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  const send = (key: string, headers: Record<string, string>, bytes: Buffer) =>
    rangeClient(gateway, `/objects/${key}`).send(undefined, bytes, {
      'content-disposition': 'attachment; filename="big.TXT"',
      'content-type': 'application/octet-stream',
      ...headers,
    });

  test.each([
    ['X-Content-Range', 'Session-ID'],
    ['Content-Range', 'X-Session-ID'],
  ])(
    'by %s and %s are told all that came, in Range and in the body, until the last byte is there',
    async (range, session) => {
      const key = `segments-${range}`;
      const segment = (first: number, last: number) => {
        const headers = { [range]: `bytes ${first}-${last}/${size}`, [session]: '1111215056' };
        return send(key, headers, file.subarray(first, last + 1));
      };
      const first = await segment(0, 51_200);
      expect(first).toMatchObject({ status: 201, text: '0-51200/511920' });
      expect(first.headers.range).toBe('0-51200/511920');
      const apart = await segment(100_000, 199_999);
      expect(apart).toMatchObject({ status: 201, text: '0-51200/511920,100000-199999/511920' });
      expect(apart.headers.range).toBe(apart.text);
      expect(await segment(200_000, size - 1)).toMatchObject({
        status: 201,
        text: `0-51200/511920,100000-${size - 1}/511920`,
      });
      expect(progressOf(await segment(51_201, 99_999)).state).toBe('completed');
      expect((await objectAt(gateway, key))?.equals(file)).toBe(true);
    },
  );

  test('in two sessions do not meet', async () => {
    const segment = (session: string) => ({ 'x-content-range': `bytes 0-99/${size}`, 'session-id': session });
    await send('sessions', segment('a'), file.subarray(0, 100));
    await send('sessions', segment('b'), file.subarray(100, 200));
    expect((await gateway.client.list('?prefix=sessions')).uploads).toHaveLength(2);
  });
});
