export interface Notice {
  id: number;
  text: string;
  action?: { label: string; run: () => void };
}

const shownForMs = 7000;

class Notices {
  list = $state<Notice[]>([]);
  /** The latest sentence for screen readers; one polite live region speaks it. */
  spoken = $state('');
  private nextId = 1;

  show(text: string, action?: Notice['action']): void {
    const id = this.nextId++;
    this.list.push({ id, text, ...(action ? { action } : {}) });
    setTimeout(() => {
      this.dismiss(id);
    }, shownForMs);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  say(text: string): void {
    this.spoken = text;
  }
}

export const notices = new Notices();
