/** A part or fragment that is leased: it is stored, then it counts, or it is given up. */
export interface Piece {
  readonly offset: number;
  store(): Promise<void>;
  commit(): Promise<void>;
  /** It will not count, for this reason where there is one. @returns the error to be thrown */
  giveUp(reason?: unknown): Promise<unknown>;
  /** Ends its lease. */
  end(): void;
}

/** The pieces of one body. Each counts once it is stored, or waits until the body is known to be what its client states. */
export class Pieces {
  readonly #wait: boolean;
  readonly #waiting: Piece[] = [];

  constructor({ wait }: { readonly wait: boolean }) {
    this.#wait = wait;
  }

  /** Stores a piece, and counts it or lets it wait. @throws what it is given up for */
  async carry(piece: Piece): Promise<void> {
    await step(piece, 'store');
    if (this.#wait) this.#waiting.push(piece);
    else await count(piece);
  }

  /** What waits counts, in its order. @throws what a piece is given up for */
  async count(): Promise<void> {
    this.#waiting.sort((a, b) => a.offset - b.offset);
    for (let piece = this.#waiting.shift(); piece !== undefined; piece = this.#waiting.shift()) await count(piece);
  }

  /** What waits will not count. */
  async drop(): Promise<void> {
    for (const piece of this.#waiting.splice(0)) {
      await piece
        .giveUp()
        .catch(() => undefined)
        .finally(() => piece.end());
    }
  }
}

async function count(piece: Piece): Promise<void> {
  await step(piece, 'commit');
  piece.end();
}

async function step(piece: Piece, name: 'store' | 'commit'): Promise<void> {
  try {
    await piece[name]();
  } catch (error) {
    throw await piece.giveUp(error).finally(() => piece.end());
  }
}
