/** What an append writer throws at itself to make durable what it holds of a slot; it goes on afterwards. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

/** A writer's way to be asked to make durable what it has taken from its client, and to go on. */
export class Checkpoint {
  #due: PromiseWithResolvers<void> | undefined;
  #hasUnsaved: () => boolean = () => false;
  #interrupt: () => void = () => undefined;

  /**
   * @param hasUnsaved whether there is anything to make durable
   * @param interrupt ends the wait for more bytes
   */
  serve(hasUnsaved: () => boolean, interrupt: () => void): void {
    this.#hasUnsaved = hasUnsaved;
    this.#interrupt = interrupt;
  }

  get isDue(): boolean {
    return this.#due !== undefined;
  }

  /** Resolves when all that had been taken by now is durable, or can't be made so. */
  request(): Promise<void> {
    if (!this.#hasUnsaved()) return Promise.resolve();
    this.#due ??= Promise.withResolvers();
    const { promise } = this.#due;
    this.#interrupt();
    return promise;
  }

  reached(): void {
    this.#due?.resolve();
    this.#due = undefined;
  }
}
