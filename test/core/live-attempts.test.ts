import { expect, it } from 'vitest';
import { UploadError } from '../../src/core/errors.ts';
import { DisplacedError, LiveAttempts } from '../../src/core/live-attempts.ts';
import { FakeClock } from './fake-clock.ts';

const clock = new FakeClock();
const stopping = new UploadError('overloaded', 'The gateway is stopping.');

it('an attempt says before its last byte what it was stopped for', () => {
  const attempts = new LiveAttempts(clock);
  const [displaced, stopped] = ['a', 'b'].map((id) => attempts.begin(id, clock.now().getTime() + 1000));
  attempts.yield('a');
  attempts.stopAll(stopping);
  expect(() => displaced?.seal()).toThrow(DisplacedError);
  expect(() => stopped?.seal()).toThrow(stopping);
});
