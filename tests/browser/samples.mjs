// Answers that show what the page can typeset.
export const thought = `We need the roots of \\(x^2-5x+6\\). Two numbers whose product is 6 and whose sum is 5: 2 and 3.
So \\((x-2)(x-3)=0\\). Let me check both by putting them in.`;

export const mathAnswer = `The equation **factors**, because \\(2\\cdot 3 = 6\\) and \\(2 + 3 = 5\\):

\\[
x^2 - 5x + 6 = (x-2)(x-3) = 0
\\]

The quadratic formula gives the same two roots:

$$
x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a} = \\frac{5 \\pm \\sqrt{25 - 24}}{2}
$$

| Root | $x^2 - 5x + 6$ | Result |
| --- | --- | --- |
| $x_1 = 2$ | $4 - 10 + 6$ | $0$ |
| $x_2 = 3$ | $9 - 15 + 6$ | $0$ |

Both are right. A pen costs $5 and a book $10, which is not mathematics.
`;

export const codeAnswer = `Walk through both lists at once and always take the smaller head:

\`\`\`python
def merge(left: list[int], right: list[int]) -> list[int]:
    """Merge two sorted lists in linear time."""
    merged, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:  # "<=" keeps the merge stable
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


assert merge([1, 4], [2, 3, 9]) == [1, 2, 3, 4, 9]
\`\`\`

1. It reads every element **once**, so it takes \`O(n + m)\` steps.
2. Equal elements keep their order.
`;

export const chineseThought = '用户想了解公钥。先用挂锁打比方，再说明为什么公开是安全的。';
export const chineseAnswer = `可以把公钥想成一把**打开的挂锁**：你把许多把锁送给朋友，钥匙只留在自己手里。

- **加密：**任何人都可以用这把锁把箱子锁上；
- **解密：**只有拿着钥匙（私钥）的你才能打开。

公开锁并不危险，因为从锁推出钥匙极其困难，例如分解 $n = p \\cdot q$ 这样的大数。
`;
