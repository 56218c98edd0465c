"""The contenders: rulec, and what it is measured against, each written for this comparison."""
