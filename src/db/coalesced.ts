/** More rows than this in one statement would keep others waiting for their locks. */
const mostAtOnce = 500;

/**
 * One run for all calls that are made in the same moment.
 * @param run answers in the order of its inputs
 */
export function coalesced<Input, Answer>(
  run: (inputs: readonly Input[]) => Promise<readonly Answer[]>,
): (input: Input) => Promise<Answer> {
  let waiting: { readonly input: Input; readonly answer: PromiseWithResolvers<Answer> }[] = [];
  const runAll = () => {
    const all = waiting;
    waiting = [];
    for (let first = 0; first < all.length; first += mostAtOnce) {
      const calls = all.slice(first, first + mostAtOnce);
      run(calls.map(({ input }) => input)).then(
        (answers) => {
          for (const [index, { answer }] of calls.entries()) answer.resolve(answers[index] as Answer);
        },
        (error: unknown) => {
          for (const { answer } of calls) answer.reject(error);
        },
      );
    }
  };
  return (input) => {
    if (waiting.length === 0) queueMicrotask(runAll);
    const answer = Promise.withResolvers<Answer>();
    waiting.push({ input, answer });
    return answer.promise;
  };
}
