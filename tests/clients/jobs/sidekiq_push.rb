# Pushes jobs until its input ends or 400 were accepted, each seventh for later, and says the numbers of those.
require_relative 'sidekiq_worker'

$stdout.sync = true
stop = false
Thread.new { $stdin.read; stop = true }
number = accepted = 0
until stop || accepted == 400
  number += 1
  begin
    number % 7 == 0 ? Job.perform_in(100_000, number) : Job.perform_async(number, number % 17 == 0 ? 1 : 0)
    puts number
    accepted += 1
  rescue Redis::BaseError
    nil # not accepted, so nobody was promised anything
  end
end
