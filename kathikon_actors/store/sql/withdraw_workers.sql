SELECT kathikon.withdraw_workers()
