"""A processing: multiplies each number by 2.

python mul.py URL < numbers.json
"""

from __future__ import annotations

from updates import process

if __name__ == "__main__":
    process("mul_Done", lambda number: number * 2)
