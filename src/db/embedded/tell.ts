/** Tells of the server's life, for the log of whoever runs it. */
export type Tell = (line: string, level: 'debug' | 'info' | 'warn') => void;
