/** Tokens a second while generating; the first token came with the prompt and counts for none. */
export function tokensPerSecond(tokens: number, generationMs: number): number | null {
  if (tokens < 2 || generationMs < 1) return null;
  return ((tokens - 1) * 1000) / generationMs;
}

/** 8.31, 23.4, 156 */
export function speed(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export type Age = 'today' | 'yesterday' | 'week' | 'month' | 'older';

/** In which group of the chat list a moment falls, by calendar days. */
export function ageOf(moment: number, now: number): Age {
  const midnight = new Date(now);
  midnight.setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight.getTime() - moment) / 86_400_000);
  if (days <= 0) return 'today';
  if (days === 1) return 'yesterday';
  if (days <= 7) return 'week';
  return days <= 30 ? 'month' : 'older';
}
