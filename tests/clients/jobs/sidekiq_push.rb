# Pushes jobs until its input ends, each seventh for later, and says the number of each that was accepted.
require_relative 'sidekiq_worker'

$stdout.sync = true
stop = false
Thread.new { $stdin.read; stop = true }
number = 0
until stop
  number += 1
  begin
    number % 7 == 0 ? Job.perform_in(100_000, number) : Job.perform_async(number, number % 17 == 0 ? 1 : 0)
    puts number
  rescue Redis::BaseError
    nil # not accepted, so nobody was promised anything
  end
end
