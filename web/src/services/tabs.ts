/** Tells the page's other tabs which chat was just saved or removed. */
export interface Tabs {
  announce(chatId: string): void;
}

export function joinTabs(onChange: (chatId: string) => void): Tabs {
  if (typeof BroadcastChannel === 'undefined') return { announce: () => undefined };
  const channel = new BroadcastChannel('carronade.chats');
  channel.onmessage = (event: MessageEvent<unknown>) => {
    if (typeof event.data === 'string') onChange(event.data);
  };
  return {
    announce: (chatId) => {
      channel.postMessage(chatId);
    },
  };
}
