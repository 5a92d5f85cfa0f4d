import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { md5Of, startMd5 } from '../../src/core/running-md5.ts';

const whole = randomBytes(1000);
const expected = (bytes: Buffer) => createHash('md5').update(bytes).digest('base64');

test('an MD5 saved and loaded at any border goes on where it was', async () => {
  for (let border = 0; border <= 300; border++) {
    const first = await startMd5();
    first.feed(0, whole.subarray(0, border));
    const saved = first.save()!;
    expect(saved.endsAt).toBe(border);
    expect(await md5Of(saved)).toBe(expected(whole.subarray(0, border)));
    const second = await startMd5(saved);
    second.feed(border, whole.subarray(border));
    expect(await md5Of(second.save()!)).toBe(expected(whole));
  }
});

test('of no bytes is the MD5 of nothing', async () => {
  expect(await md5Of((await startMd5()).save()!)).toBe(expected(Buffer.alloc(0)));
});

test('takes each byte once, however the chunks repeat and overlap, and however often it is saved', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ back: fc.nat(200), length: fc.nat(200), saves: fc.boolean() }), { maxLength: 30 }),
      async (steps) => {
        let md5 = await startMd5();
        let end = 0;
        for (const { back, length, saves } of steps) {
          const offset = Math.max(0, end - back);
          const chunk = whole.subarray(offset, offset + length);
          expect(md5.feed(offset, chunk)).toBe(true);
          end = Math.max(end, offset + chunk.length);
          if (saves) md5 = await startMd5(md5.save());
        }
        expect(md5.save()?.endsAt).toBe(end);
        expect(await md5Of(md5.save()!)).toBe(expected(whole.subarray(0, end)));
      },
    ),
  );
});

test('several at once do not disturb each other', async () => {
  const others = [randomBytes(500), randomBytes(500)];
  const [one, other] = [await startMd5(), await startMd5()];
  for (let offset = 0; offset < 500; offset += 50) {
    one.feed(offset, others[0]!.subarray(offset, offset + 50));
    other.feed(offset, others[1]!.subarray(offset, offset + 50));
  }
  expect(await md5Of(one.save()!)).toBe(expected(others[0]!));
  expect(await md5Of(other.save()!)).toBe(expected(others[1]!));
});

test('says that a gap broke the chain, and has nothing to save from then on', async () => {
  const md5 = await startMd5();
  expect(md5.feed(0, whole.subarray(0, 10))).toBe(true);
  expect(md5.feed(11, whole.subarray(11))).toBe(false);
  expect(md5.feed(10, whole.subarray(10))).toBe(false);
  expect(md5.save()).toBeUndefined();
});

test('does not go on from a state that another build of the hash saved', async () => {
  const state = Buffer.from((await startMd5()).save()!.state, 'base64');
  state[0]! ^= 1;
  const foreign = { endsAt: 0, state: state.toString('base64') };
  const md5 = await startMd5(foreign);
  expect(md5.feed(0, whole)).toBe(false);
  expect(await md5Of(foreign)).toBeUndefined();
});
